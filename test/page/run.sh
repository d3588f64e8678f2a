#!/usr/bin/env bash
# Looks at the page with a real browser: headless Chromium against a running daemon. docs/page.md says what is promised.
#
#   --pictures DIR      keep the screenshots there
#   BUNDLEWATCH_BIN     the binary to check; built from this checkout when unset
#   CHROMIUM            the browser; by default chromium or google-chrome on the path
#
# Playwright is installed into an environment of its own, kept between runs; the browser is the system's. What is missing is
# skipped with one line.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
. "$repo/test/program.sh"
. "$repo/test/venv.sh"

browser=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}
if [ -z "$browser" ]; then
  echo "SKIP: page: no Chromium on the path (set CHROMIUM)"
  exit 0
fi
if ! python=$(venv_python page playwright playwright); then
  echo "SKIP: page: no python3, or pip could not install playwright, see $(venv_log page)"
  exit 0
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/bundlewatch-page.XXXXXX")
trap 'rm -rf "$work"' EXIT

binary=$(program_in "$work")
"$python" -B "$here/suite.py" --binary "$binary" --browser "$browser" --work "$work" "$@"
