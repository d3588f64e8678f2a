#!/usr/bin/env bash
# Proves the unit, its drop-ins and the sysusers file with systemd's own tools. Changes nothing.
set -euo pipefail

# On systemd's scale of 0 (safe) to 100 (unsafe).
readonly exposure=20

units=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../systemd" && pwd)

if ! command -v systemd-analyze >/dev/null; then
  echo "SKIP: systemd unit: systemd-analyze is not installed"
  exit 0
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/bundlewatch-systemd.XXXXXX")
trap 'rm -rf "$work"' EXIT
binary=$work/bundlewatch
printf '#!/bin/sh\n' >"$binary"
chmod +x "$binary"
failed=0

verify() { # verify LABEL [DROP-IN]: is the unit accepted, and not too exposed?
  local label=$1 dir=$work/${1// /-} log
  mkdir -p "$dir/bundlewatch.service.d"
  sed "s|/usr/bin/bundlewatch|$binary|" "$units/bundlewatch.service" >"$dir/bundlewatch.service"
  [ $# = 1 ] || cp "$2" "$dir/bundlewatch.service.d/"
  log=$(SYSTEMD_UNIT_PATH="$dir:" systemd-analyze verify --man=no bundlewatch.service 2>&1) || failed=1
  # A setting that systemd does not know is a complaint, not a failure.
  if grep -F "$dir" <<<"$log"; then failed=1; fi
  if ! log=$(SYSTEMD_UNIT_PATH="$dir:" systemd-analyze security --offline=true --threshold="$exposure" \
    bundlewatch.service 2>&1); then
    echo "$log"
    failed=1
  fi
  echo "$label: $(grep -F 'Overall exposure level' <<<"$log")"
}

verify "the unit"
for drop_in in "$units"/drop-ins/*.conf; do
  verify "with $(basename "$drop_in")" "$drop_in"
done

if command -v systemd-sysusers >/dev/null; then
  mkdir -p "$work/root/etc"
  systemd-sysusers --root="$work/root" "$units/sysusers.d/bundlewatch.conf"
  grep -H '^bundlewatch:' "$work/root/etc/passwd" || failed=1
else
  echo "SKIP: sysusers file: systemd-sysusers is not installed"
fi

[ "$failed" = 0 ] || echo "FAIL: see the lines above; the unit is $units/bundlewatch.service"
exit "$failed"
