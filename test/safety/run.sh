#!/usr/bin/env bash
# Shows that hostile files are data: gives them to the program under strace, and compares the imports that it sees with
# what Python's disassembler, picklescan and fickling see. docs/safety.md says what is promised, and keeps the table.
#
#   --write             put the table into docs/safety.md
#   BUNDLEWATCH_BIN     the binary to check; built from this checkout when unset
#   BUNDLEWATCH_SHARED  a directory whose fixtures/ are checked too; by default `shared` beside the repository
#
# The scanners are installed into an environment of their own, kept between runs. What is missing is skipped with one line.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
. "$repo/test/program.sh"
. "$repo/test/venv.sh"
scanners=(picklescan==1.0.5 fickling==0.1.12 typing_extensions) # fickling 0.1.12 imports the third without asking for it

find_scanners() { # prints a Python that has them
  venv_python safety "picklescan fickling" "${scanners[@]}" ||
    echo "SKIP: the comparison with other scanners: pip could not install them, see $(venv_log safety)" >&2
}

fixtures() {
  local shared=${BUNDLEWATCH_SHARED:-$repo/../shared}
  if [ -d "$shared/fixtures/hostile" ]; then
    (cd "$shared/fixtures" && pwd)
  else
    echo "SKIP: the shared fixtures: no directory $shared/fixtures/hostile (set BUNDLEWATCH_SHARED)" >&2
  fi
}

if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
  echo "SKIP: safety: no python3 of 3.9 or later on the path"
  exit 0
fi
if ! strace --seccomp-bpf -f -qq -e trace=%file -o /dev/null true 2>/dev/null; then
  echo "SKIP: safety: strace 5.3 or later is not installed, or may not trace here"
  exit 0
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/bundlewatch-safety.XXXXXX")
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

binary=$(program_in "$work")

mkdir "$work/corpus"
python3 -B "$here/corpus.py" "$work/corpus"
python3 -B "$here/suite.py" --binary "$binary" --work "$work" --corpus "$work/corpus" --examples "$repo/examples/runs" \
  --fixtures "$(fixtures)" --scanners "$(find_scanners)" --page "$repo/docs/safety.md" "$@"
