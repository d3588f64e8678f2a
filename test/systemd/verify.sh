#!/usr/bin/env bash
# Proves the units, their drop-ins, and the sysusers, tmpfiles and sysctl files with systemd's own tools.
# Changes nothing.
set -euo pipefail

# On systemd's scale of 0 (safe) to 100 (unsafe). Without namespaces a user's manager can take little
# away, and the scale counts capabilities that no process of a user has.
readonly exposure=20 exposure_without_namespaces=60

units=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../systemd" && pwd)

if ! command -v systemd-analyze >/dev/null; then
  echo "SKIP: systemd unit: systemd-analyze is not installed"
  exit 0
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/bundlewatch-systemd.XXXXXX")
trap 'rm -rf "$work"' EXIT
export XDG_RUNTIME_DIR=$work # systemd-analyze --user wants one
binary=$work/bundlewatch
printf '#!/bin/sh\n' >"$binary"
chmod +x "$binary"
failed=0

verify() { # verify SCOPE UNIT THRESHOLD [DROP-IN]: is the unit accepted, and not too exposed?
  local scope=$1 unit=$2 threshold=$3 drop_in=${4:-} log
  local label=$unit${drop_in:+ with $(basename "$drop_in")}
  local dir=$work/${label// /-}
  mkdir -p "$dir/$unit.d"
  sed "s|/usr/bin/bundlewatch|$binary|" "$units/$unit" >"$dir/$unit"
  [ -z "$drop_in" ] || cp "$drop_in" "$dir/$unit.d/"
  log=$(SYSTEMD_UNIT_PATH="$dir:" systemd-analyze "$scope" verify --man=no "$unit" 2>&1) || failed=1
  # A setting that systemd does not know is a complaint, not a failure.
  if grep -F "$dir" <<<"$log"; then failed=1; fi
  if ! log=$(SYSTEMD_UNIT_PATH="$dir:" systemd-analyze "$scope" security --offline=true --threshold="$threshold" \
    "$unit" 2>&1); then
    echo "$log"
    failed=1
  fi
  echo "$label: $(grep -F 'Overall exposure level' <<<"$log")"
}

has_capabilities() { # has_capabilities NAME...: the unit has exactly these
  local setting found
  for setting in CapabilityBoundingSet AmbientCapabilities; do
    found=$(sed -n "s/^$setting=//p" "$units/bundlewatch.service")
    [ "$found" = "$*" ] || { echo "$setting is '$found' instead of '$*'"; failed=1; }
  done
}

# What `make install` puts somewhere, `make uninstall` takes away, and nothing else.
install_and_uninstall() {
  local repo=$units/.. left
  mkdir -p "$work/dest/usr/bin" && touch "$work/dest/usr/bin/other"
  make -s -C "$repo" install BINARY="$binary" DESTDIR="$work/dest" PREFIX=/usr || failed=1
  grep -qx 'ExecStart=/usr/bin/bundlewatch run .*' "$work/dest/usr/lib/systemd/system/bundlewatch.service" || failed=1
  echo "make install: $(find "$work/dest" -type f ! -name other | wc -l) files"
  make -s -C "$repo" uninstall DESTDIR="$work/dest" PREFIX=/usr || failed=1
  left=$(cd "$work/dest" && find . -type f)
  [ "$left" = ./usr/bin/other ] || { echo "after make uninstall: $left"; failed=1; }
}

apply_sysusers_and_tmpfiles() {
  if ! command -v systemd-sysusers >/dev/null || ! command -v systemd-tmpfiles >/dev/null; then
    echo "SKIP: sysusers and tmpfiles: systemd-sysusers or systemd-tmpfiles is not installed"
    return
  fi
  mkdir -p "$work/root/etc" "$work/root/usr/lib/tmpfiles.d"
  systemd-sysusers --root="$work/root" "$units/sysusers.d/bundlewatch.conf"
  grep -H '^bundlewatch:' "$work/root/etc/passwd" || failed=1
  if [ "$(id -u)" != 0 ]; then
    echo "SKIP: tmpfiles: needs root"
    return
  fi
  cp "$units/tmpfiles.d/bundlewatch.conf" "$work/root/usr/lib/tmpfiles.d/"
  systemd-tmpfiles --root="$work/root" --create bundlewatch.conf || failed=1
  local uid mode
  uid=$(sed -n 's/^bundlewatch:[^:]*:\([0-9]*\):.*/\1/p' "$work/root/etc/passwd")
  mode=$(stat --format=%a:%u "$work/root/var/lib/bundlewatch/artifacts")
  echo "tmpfiles: artifacts have $mode"
  [ "$mode" = "750:$uid" ] || failed=1
}

# The real systemd-sysctl, which sees a /proc/sys of ours.
apply_sysctl() {
  local file=$units/sysctl.d/60-bundlewatch.conf key tool=/lib/systemd/systemd-sysctl
  if [ ! -x "$tool" ] || [ "$(id -u)" != 0 ] || ! unshare --mount true 2>/dev/null; then
    echo "SKIP: sysctl file: needs root, mount namespaces and $tool"
    return
  fi
  mkdir -p "$work/sys/fs/inotify"
  for key in max_user_watches max_user_instances max_queued_events; do
    [ -e "/proc/sys/fs/inotify/$key" ] || { echo "this kernel has no fs.inotify.$key"; failed=1; }
    echo unset >"$work/sys/fs/inotify/$key"
  done
  unshare --mount --propagation private bash -c 'mount --bind "$1" /proc/sys && "$2" "$3"' - "$work/sys" "$tool" "$file" || failed=1
  for key in max_user_watches max_user_instances max_queued_events; do
    grep -qx '[0-9][0-9]*' "$work/sys/fs/inotify/$key" || { echo "fs.inotify.$key is not set"; failed=1; }
    echo "sysctl: fs.inotify.$key = $(cat "$work/sys/fs/inotify/$key")"
  done
}

verify --system bundlewatch.service "$exposure"
verify --user bundlewatch-user.service "$exposure"
for drop_in in "$units"/drop-ins/*.conf; do
  case $(basename "$drop_in") in
    user-no-namespaces.conf) verify --user bundlewatch-user.service "$exposure_without_namespaces" "$drop_in" ;;
    *) verify --system bundlewatch.service "$exposure" "$drop_in" ;;
  esac
done
has_capabilities CAP_DAC_READ_SEARCH CAP_LEASE
install_and_uninstall
apply_sysusers_and_tmpfiles
apply_sysctl

[ "$failed" = 0 ] || echo "FAIL: see the lines above; the units are in $units"
exit "$failed"
