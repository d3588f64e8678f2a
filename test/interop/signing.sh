#!/usr/bin/env bash
# Holds signatures against the reference implementation of OpenSSF Model Signing, both ways. Started by run.sh.
#
#   BUNDLEWATCH_BIN     the binary to check; built from this checkout when unset
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
. "$repo/test/program.sh"
. "$repo/test/venv.sh"

if ! command -v python3 >/dev/null; then
  echo "SKIP: signatures against model_signing: no python3 on the path"
  exit 0
fi
# model-signing imports pyOpenSSL and does not ask for it.
if ! python=$(venv_python signing "model_signing OpenSSL" model-signing==1.1.1 pyOpenSSL); then
  echo "SKIP: signatures against model_signing: pip could not install it, see $(venv_log signing)"
  exit 0
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/bundlewatch-signing.XXXXXX")
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
binary=$(program_in "$work")
"$python" -B "$here/signing.py" --binary "$binary" --work "$work" --runs "$repo/examples/runs/pairs"
