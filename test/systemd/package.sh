#!/usr/bin/env bash
# Builds the packages and uses the deb as an administrator would, in a Debian of its own under a real systemd: install, start,
# bundles of the example runs, upgrade, remove, install again, purge. The rpm is listed, where rpm is installed.
#
# See machine.sh for what it needs and installs.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
subject=packages
# shellcheck source=machine.sh
. "$repo/test/systemd/machine.sh"
config=/etc/bundlewatch/bundlewatch.toml

fail() {
  echo "FAIL: $*" >&2
  [ -z "$leader" ] || inside journalctl --no-pager --unit=bundlewatch --lines=40 >&2 || true
  exit 1
}

build_packages() {
  local status=0
  DIST=$work/host "$repo/packaging/build.sh" >"$work/build.log" 2>&1 || status=$?
  [ "$status" != 69 ] || skip "$(tail -n 1 "$work/build.log")"
  [ "$status" = 0 ] || fail "packaging/build.sh: $(cat "$work/build.log")"
  deb=$(basename "$work"/host/*.deb)
  dpkg-deb --extract "$work/host/$deb" "$work/tree" 2>"$work/extract.log" || skip "$(tail -n 1 "$work/extract.log")"
  cp "$work/tree/usr/bin/bundlewatch" "$work/bundlewatch"
  (cd "$work/host" && sha256sum --check --quiet SHA256SUMS) || fail "SHA256SUMS of the packages"
  DIST=$work/again "$repo/packaging/build.sh" >"$work/again.log" 2>&1 || fail "packaging/build.sh again: $(cat "$work/again.log")"
  diff "$work/host/SHA256SUMS" "$work/again/SHA256SUMS" || fail "the same sources give other packages"
  echo "packages: $(cd "$work/host" && ls bundlewatch* | tr '\n' ' ')the same when built again"
}

must_have() { # must_have LIST FILE...: the list of a package's files has them
  local list=$1 file
  shift
  for file; do
    grep -qx "$file" <<<"$list" || fail "a package lacks $file: $list"
  done
}

# Both packages have all that a user expects of them.
test_contents() {
  local common=(/usr/bin/bundlewatch /usr/lib/systemd/system/bundlewatch.service /usr/lib/systemd/user/bundlewatch-user.service
    /usr/lib/sysusers.d/bundlewatch.conf /usr/lib/tmpfiles.d/bundlewatch.conf /usr/share/man/man1/bundlewatch.1.gz
    /usr/share/bash-completion/completions/bundlewatch /usr/share/fish/vendor_completions.d/bundlewatch.fish
    /usr/share/doc/bundlewatch/docs/install.md /usr/share/doc/bundlewatch/sbom.cdx.json "$config")
  must_have "$(cd "$work/tree" && find . -type f | sed 's/^\.//')" "${common[@]}" \
    /usr/share/zsh/vendor-completions/_bundlewatch /usr/share/doc/bundlewatch/copyright
  [ "$(dpkg-deb --info "$work/host/$deb" conffiles)" = "$config" ] || fail "conffiles: $(dpkg-deb --info "$work/host/$deb" conffiles)"
  [ -z "$(find "$work/tree" ! -user root -o -perm /022 ! -type l)" ] || fail "files that others may write: $(find "$work/tree" -perm /022)"
  if command -v rpm >/dev/null; then
    must_have "$(rpm --query --list --package "$work"/host/*.rpm 2>/dev/null)" "${common[@]}" \
      /usr/share/zsh/site-functions/_bundlewatch /usr/share/licenses/bundlewatch/LICENSE
    [ "$(rpm --query --configfiles --package "$work"/host/*.rpm 2>/dev/null)" = "$config" ] || fail "config files of the rpm"
    echo "contents: deb and rpm have everything"
  else
    echo "SKIP: contents of the rpm: rpm is not installed"
  fi
  test_sbom
}

# The list of components names every module that the binary was built from, in its version.
test_sbom() {
  local modules name version
  modules=$(go version -m "$work/bundlewatch" | awk '$1 == "dep" { print $2, $3 }')
  [ -n "$modules" ] || fail "the binary names no modules"
  while read -r name version; do
    grep -qF "pkg:golang/$name@$version?" "$work/tree/usr/share/doc/bundlewatch/sbom.cdx.json" || fail "the SBOM lacks $name $version"
  done <<<"$modules"
  echo "sbom: $(wc -l <<<"$modules") modules"
}

prepare() {
  cp -r "$repo/examples/runs" "$work/host/"
  write_config pairs >"$work/host/bundlewatch.toml"
  bundle_examples "$work/host/bundlewatch.toml"
  chmod -R a+rX "$work"
}

show() { inside systemctl show --value --property="$1" bundlewatch; }

state_is() { # state_is ACTIVE ENABLED
  local active enabled
  active=$(inside systemctl is-active bundlewatch) || true
  enabled=$(inside systemctl is-enabled bundlewatch 2>/dev/null) || true
  [ "$active:$enabled" = "$1:$2" ] || fail "the service is ${active:-unknown} and ${enabled:-unknown} instead of $1 and $2 $3"
}

dpkg_inside() { inside dpkg "$@" >"$work/dpkg.log" 2>&1 || fail "dpkg $*: $(cat "$work/dpkg.log")"; }

test_install() {
  dpkg_inside --install "/host/$deb"
  state_is inactive disabled "after the installation"
  says 'systemctl enable --now bundlewatch' <"$work/dpkg.log" || fail "the installation does not say how to go on: $(cat "$work/dpkg.log")"
  [ "$(inside stat --format=%a:%U:%G "$state" "$artifacts")" = "$(printf '%s\n' 750:bundlewatch:bundlewatch{,})" ] ||
    fail "the installation made $(inside ls -ld "$state" "$artifacts")"
  inside bundlewatch check --config "$config" >"$work/check.log" 2>&1 || [ $? = 1 ] || fail "the config that comes with it: $(cat "$work/check.log")"
  inside bash -c '. /usr/share/bash-completion/completions/bundlewatch && complete -p bundlewatch' | says _bundlewatch || fail "no completions for bash"
  echo "install: $(inside bundlewatch version); neither enabled nor started, its user and directories are there"
}

test_service() {
  inside useradd --create-home trainer
  inside cp -r /host/runs /home/trainer/runs
  inside chown -R trainer: /home/trainer
  inside chmod -R u=rwX,go= /home/trainer
  inside cp /host/bundlewatch.toml "$config"
  inside systemctl enable --now bundlewatch >"$work/enable.log" 2>&1 || fail "systemctl enable --now: $(cat "$work/enable.log")"
  state_is active enabled "after systemctl enable --now"
  eventually 60 archives_in "$artifacts" pairs || fail "bundles: $(diff "$work/want" "$work/got")"
  inside bundlewatch verify "$artifacts" >"$work/verify.log" 2>&1 || fail "bundlewatch verify: $(cat "$work/verify.log")"
  echo "service: $(wc -l <"$work/got") bundles of the example runs"
}

# The same package again is an upgrade as any other to the scripts.
test_upgrade() {
  local pid
  pid=$(show MainPID)
  dpkg_inside --install "/host/$deb"
  state_is active enabled "after the upgrade"
  [ "$(show MainPID)" != "$pid" ] || fail "the upgrade did not restart the service"
  inside cmp /host/bundlewatch.toml "$config" || fail "the upgrade changed the config"
  echo "upgrade: restarted, with the config as it was"
}

test_remove() {
  dpkg_inside --remove bundlewatch
  [ "$(inside systemctl is-active bundlewatch)" = inactive ] || fail "the service runs after its removal"
  ! inside test -e /usr/bin/bundlewatch || fail "the program is there after its removal"
  inside cmp /host/bundlewatch.toml "$config" || fail "the removal changed the config"
  dpkg_inside --install "/host/$deb"
  state_is inactive enabled "after it was removed and installed again"
  inside systemctl start bundlewatch || fail "the service does not start after it was installed again"
  echo "remove: stopped, the config stays; enabled as before when it is installed again"
}

test_purge() {
  dpkg_inside --purge bundlewatch
  says "kept in $state" <"$work/dpkg.log" || fail "the purge does not say that bundles are kept: $(cat "$work/dpkg.log")"
  archives_in "$artifacts" pairs || fail "bundles after the purge: $(diff "$work/want" "$work/got")"
  ! inside test -e /etc/bundlewatch || fail "the purge left /etc/bundlewatch"
  local left
  left=$(inside find /etc/systemd /usr/lib/systemd /usr/share /var/lib/systemd /usr/bin -name '*bundlewatch*')
  [ -z "$left" ] || fail "the purge left $left"
  left=$(inside journalctl --quiet --no-pager --unit=bundlewatch --priority=err)
  [ -z "$left" ] || fail "errors in the journal: $left"
  echo "purge: $(wc -l <"$work/got") bundles are kept, all else is gone"
}

[ "$(id -u)" = 0 ] || skip "needs root"
command -v dpkg-deb >/dev/null || skip "dpkg-deb is not installed"
command -v nsenter >/dev/null || skip "nsenter is not installed"
mkdir -p "$cache"
work=$(mktemp -d "${TMPDIR:-/tmp}/bundlewatch-package.XXXXXX")
trap clean_up EXIT
build_packages
test_contents
install_tools
build_debian
prepare
boot
test_install
test_service
test_upgrade
test_remove
test_purge
