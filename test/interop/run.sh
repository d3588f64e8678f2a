#!/usr/bin/env bash
# Proves bundles with the programs that read them: PyTorch, dill, zipfile, sha256sum; and their signatures
# with model_signing.
#
#   BUNDLEWATCH_BIN     the binary to check; built from this checkout when unset
#   BUNDLEWATCH_SHARED  a directory whose fixtures/ are checked too; by default `shared` beside the repository
#
# Two PyTorch worlds are looked for, the distribution's own and the newest release. What is missing is
# installed where that needs no question, else skipped with one line.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
. "$repo/test/program.sh"
. "$repo/test/venv.sh"
pythons=()

find_distribution_python() {
  local python=/usr/bin/python3
  if imports "$python" torch dill yaml; then
    pythons+=(--python "$python")
    return
  fi
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "SKIP: the distribution's PyTorch: python3-torch, python3-dill and python3-yaml are not installed, and installing them needs root and apt-get"
    return
  fi
  local log=$venv_cache/interop/apt.log
  mkdir -p "$venv_cache/interop"
  if { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    python3-torch python3-dill python3-yaml python3-numpy; } >"$log" 2>&1 && imports "$python" torch dill yaml; then
    pythons+=(--python "$python")
  else
    echo "SKIP: the distribution's PyTorch: apt-get could not install it, see $log"
  fi
}

find_newest_python() {
  local python
  if ! command -v python3 >/dev/null; then
    echo "SKIP: the newest PyTorch: no python3 on the path"
  elif python=$(venv_python interop "torch dill yaml lightning omegaconf" torch numpy dill lightning omegaconf pyyaml); then
    pythons+=(--python "$python")
  else
    echo "SKIP: the newest PyTorch: pip could not install it, see $(venv_log interop)"
  fi
}

fixtures() {
  local shared=${BUNDLEWATCH_SHARED:-$repo/../shared}
  if [ -d "$shared/fixtures/runs" ]; then
    echo "$shared/fixtures"
  else
    echo "SKIP: more fixtures: no directory $shared/fixtures (set BUNDLEWATCH_SHARED)" >&2
  fi
}

"$here/signing.sh"
find_distribution_python
find_newest_python
if [ ${#pythons[@]} = 0 ]; then
  echo "SKIP: no Python with torch"
  exit 0
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/bundlewatch-interop.XXXXXX")
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

binary=$(program_in "$work")

"${pythons[-1]}" -B "$here/suite.py" --binary "$binary" --work "$work" \
  --examples "$repo/examples/runs" --fixtures "$(fixtures)" "${pythons[@]}"
