#!/usr/bin/env bash
# Builds the packages in dist/: deb and rpm, a list of what the binary is made of (CycloneDX), and SHA256SUMS. The same commit
# gives the same bytes.
#
#   GOARCH    for which machines, by default this one: amd64 or arm64
#   FORMATS   which packages, by default "deb rpm"
#   DIST      where to put them, by default dist
#
# Ends with 69 when the tools for it cannot be had from the module proxy.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly nfpm=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
readonly cyclonedx=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0

# What runs here is built for here, whatever GOARCH says.
host_go() { env -u GOARCH -u GOOS go "$@"; }

# package_version: a version that dpkg and rpm sort as git does. v1.2.0-rc1 is 1.2.0~rc1; three commits behind v1.2.0 is 1.2.0+3.g…;
# without a tag it is 0~DATE.COMMIT.
package_version() {
  local described dirty=
  described=$(git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null) || described=
  if [ -z "$described" ]; then
    git diff --quiet HEAD 2>/dev/null || dirty=+dirty
    printf '0~%s%s\n' "$(git log -1 --format=%cd.%h --date=format:%Y%m%d 2>/dev/null || echo unknown)" "$dirty"
    return
  fi
  sed -E 's/^v//; s/-dirty$/+dirty/; s/-([0-9]+)-(g[0-9a-f]+)/+\1.\2/; s/-/~/; s/-/./g' <<<"$described"
}

for tool in "$nfpm --version" "$cyclonedx version"; do
  # shellcheck disable=SC2086
  host_go run $tool >/dev/null 2>&1 || { echo "${tool%% *} could not be fetched and built" >&2; exit 69; }
done

export GOARCH=${GOARCH:-$(go env GOARCH)}
export PACKAGE_VERSION=${PACKAGE_VERSION:-$(package_version)}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
dist=$(realpath -m "${DIST:-dist}")
work=$(mktemp -d "${TMPDIR:-/tmp}/bundlewatch-package.XXXXXX")
trap 'rm -rf "$work"' EXIT
export STAGE=$work/stage
umask 022
mkdir -p "$STAGE" "$dist"

build() { # build OUTPUT: the program, the same wherever it is built
  CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.version=$PACKAGE_VERSION" -o "$1" ./cmd/bundlewatch
}
build "$work/bundlewatch"
self=$work/bundlewatch
if [ "$GOARCH" != "$(host_go env GOARCH)" ]; then
  self=$work/bundlewatch.here
  GOARCH=$(host_go env GOARCH) build "$self"
fi

sbom=$dist/bundlewatch_${PACKAGE_VERSION}_$GOARCH.cdx.json
host_go run "$cyclonedx" bin -json -std -licenses -noserial -notimestamp -version "$PACKAGE_VERSION" -output "$sbom" "$work/bundlewatch" \
  >"$work/sbom.log" 2>&1 || { cat "$work/sbom.log" >&2; exit 1; }

make -s install BINARY="$work/bundlewatch" SELF="$self" DESTDIR="$STAGE" PREFIX=/usr
gzip -9n "$STAGE"/usr/share/man/man*/*
install -m 644 "$sbom" "$STAGE/usr/share/doc/bundlewatch/sbom.cdx.json"
mkdir "$STAGE/deb" "$STAGE/rpm"
cp packaging/copyright "$STAGE/deb/"
mv "$STAGE/usr/share/doc/bundlewatch/LICENSE" "$STAGE/rpm/"
cp "$STAGE/usr/share/zsh/site-functions/_bundlewatch" "$STAGE/deb/"
mv "$STAGE/usr/share/zsh/site-functions/_bundlewatch" "$STAGE/rpm/"
rm -r "$STAGE/usr/share/zsh"
{
  printf 'bundlewatch (%s) unstable; urgency=medium\n\n' "$PACKAGE_VERSION"
  printf '  * Built from %s.\n\n' "$(git log -1 --format='%h, "%s"' 2>/dev/null || echo 'the sources')"
  printf ' -- The bundlewatch developers <bundlewatch@users.noreply.github.com>  %s\n' "$(LC_ALL=C date --utc --rfc-email --date="@$SOURCE_DATE_EPOCH")"
} | gzip -9n >"$STAGE/deb/changelog.Debian.gz"
find "$STAGE" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

for format in ${FORMATS:-deb rpm}; do
  host_go run "$nfpm" package --config packaging/nfpm.yaml --packager "$format" --target "$dist/" >"$work/nfpm.log" 2>&1 ||
    { cat "$work/nfpm.log" >&2; exit 1; }
done
(cd "$dist" && sha256sum -- bundlewatch[_-]*"$PACKAGE_VERSION"*.* >SHA256SUMS && cat SHA256SUMS)
