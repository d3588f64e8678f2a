#!/usr/bin/env bash
# Runs the public conformance suite of OpenSSF Model Signing against internal/signature: all of its cases of
# the method "key", with every signature that is made held against the JSON schemas of the specification; and
# bundles of the program itself against the schemas.
#
#   test/signing/conformance.sh [SUITE [SPEC]]
#
# SUITE and SPEC are repositories, local ones or addresses. By default they are cloned from GitHub. Nothing of
# them is part of this repository.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
. "$repo/test/venv.sh"

suite=${1:-https://github.com/sampras343/model-signing-conformance}
spec=${2:-https://github.com/ossf/model-signing-spec}
# What the expectations below were written for.
suite_commit=114b0f72da8d7502cfdc3c83003c9d2d4a30682e
spec_commit=a0c91e2c930298efb8e8445bf475e4fa217d89cd

# Cases that bundlewatch fails, each for a reason.
expected=(
  historical-v0.3.1-elliptic-key # a single file, which the signature calls "."
  historical-v1.0.0-elliptic-key # the same
  key-default-ignores            # a .git and .github in the directory, which are not signed: refused on purpose
)

work=$(mktemp -d "${TMPDIR:-/tmp}/bundlewatch-conformance.XXXXXX")
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

obtain() { # obtain REPOSITORY COMMIT NAME
  if ! git clone --quiet "$1" "$work/$3" 2>"$work/git.log"; then
    echo "SKIP: conformance suite: $1 cannot be cloned: $(tail -n 1 "$work/git.log")"
    exit 0
  fi
  git -C "$work/$3" -c advice.detachedHead=false checkout --quiet "$2" 2>/dev/null ||
    echo "note: $1 has no commit $2; taking $(git -C "$work/$3" rev-parse HEAD)"
}

obtain "$suite" "$suite_commit" suite
obtain "$spec" "$spec_commit" spec
if ! python=$(venv_python conformance "pytest jsonschema referencing" pytest jsonschema referencing); then
  echo "SKIP: conformance suite: pip could not install pytest, jsonschema and referencing, see $(venv_log conformance)"
  exit 0
fi
ln -s schemas "$work/spec/oms_schemas" # the name of the package that the suite imports
export PYTHONPATH=$work/spec

# Only the method "key" is meant to work.
for config in "$work"/suite/test/test-cases/*/*/config.json "$work"/suite/test/test-cases/*/*/*/config.json; do
  [ ! -e "$config" ] || grep -q '"method": *"key"' "$config" || rm -r "$(dirname "$config")"
done

cd "$repo"
go build -o "$work/adapter" ./test/signing/adapter
go build -o "$work/bundlewatch" ./cmd/bundlewatch

failed=0
(cd "$work/suite" && "$python" -B -m pytest test --entrypoint="$work/adapter" -q -rf --tb=no -p no:cacheprovider) >"$work/report" 2>&1 || true
tail -n 1 "$work/report"
sed -n 's/^FAILED [^[]*\[\(.*\)$/\1/p' "$work/report" | sed 's/ |.*//; s|.*/||' | sort >"$work/failed"
printf '%s\n' "${expected[@]}" | sort >"$work/expected"
sed 's/^/failed as expected: /' "$work/expected"
if ! diff "$work/expected" "$work/failed" >"$work/diff" || ! tail -n 1 "$work/report" | grep -q passed; then
  cat "$work/report"
  echo "FAIL: not what was expected:" && cat "$work/diff"
  failed=1
fi

# The program itself, on every curve.
for curve in P-256 P-384 P-521; do
  (cd "$work" && ./bundlewatch keygen "$curve.pem" --curve "$curve" && cat >"$curve.toml" && ./bundlewatch once --config "$curve.toml") >"$work/log" <<TOML
[artifacts]
dir = "$curve"
[sign]
key = "$curve.pem"
[[watch]]
name = "w"
root = "$repo/examples/runs/pairs"
settle = "50ms"
[watch.members]
autoencoder = "{run...}/checkpoints/autoencoder-epoch={epoch}.ckpt"
diffraction_to_obj = "{run...}/checkpoints/diffraction_to_obj-epoch={epoch}.ckpt"
TOML
  for signature in "$work/$curve"/w/*/*/model.sig; do
    "$python" -B -c 'import pathlib, sys, oms_schemas; oms_schemas.validate_bundle(pathlib.Path(sys.argv[1]), method="key")' "$signature" || failed=1
    echo "schemas hold: $curve $(basename "$(dirname "$signature")")/model.sig"
  done
done
exit "$failed"
