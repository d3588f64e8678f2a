#!/usr/bin/env bash
# Watches file systems that come and go and that hang: bindfs, a FUSE server, as a root of its own and below
# a local root, mounted and unmounted meanwhile, and stopped in the middle.
#
# Needs root and /dev/fuse, and bindfs, which is installed where apt-get can.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
log=$(mktemp "${TMPDIR:-/tmp}/bundlewatch-mounts.XXXXXX")
trap 'rm -f "$log"' EXIT

skip() {
  echo "SKIP: FUSE mounts: $*"
  exit 0
}

[ "$(id -u)" = 0 ] || skip "not root"
[ -c /dev/fuse ] || skip "there is no /dev/fuse"
if ! command -v bindfs >/dev/null; then
  command -v apt-get >/dev/null || skip "bindfs is not installed, and there is no apt-get"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends bindfs; } >"$log" 2>&1 </dev/null ||
    skip "apt-get could not install bindfs: $(tail -n 1 "$log" | tr -cd '[:print:]')"
fi
BUNDLEWATCH_MOUNTS=1 go test -count=1 -timeout 100s "$@" ./test/mounts
