# shellcheck shell=bash
# A Debian of its own, booted with a real systemd in a container. Sourced by boot.sh.
#
# Needs root, and debootstrap and systemd-nspawn, which are installed where apt-get can. The Debian is kept
# in the cache directory and never written to: remove it to get a newer one.

cache=${XDG_CACHE_HOME:-$HOME/.cache}/bundlewatch/systemd
debian=$cache/debian-12
state=/var/lib/bundlewatch
artifacts=$state/artifacts
packages=systemd,dbus,procps,libpam-systemd,dbus-user-session
work=
nspawn=
leader=

skip() {
  echo "SKIP: ${subject:-service under systemd}: $*"
  exit 0
}

install_tools() {
  local missing=()
  command -v debootstrap >/dev/null || missing+=(debootstrap)
  command -v systemd-nspawn >/dev/null || missing+=(systemd-container)
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || skip "${missing[*]} not installed, and there is no apt-get"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } \
    >"$cache/apt.log" 2>&1 </dev/null || skip "apt-get could not install ${missing[*]}, see $cache/apt.log"
}

build_debian() {
  [ "$(cat "$debian.complete" 2>/dev/null)" != "$packages" ] || return 0
  rm -f "$debian.complete"
  local attempt
  for attempt in 1 2; do
    # What debootstrap mounts in there is gone with its mount namespace, however it ends.
    ! mountpoint -q "$debian/proc" || umount "$debian/proc"
    rm -rf --one-file-system "$debian"
    if timeout 300 unshare --mount --propagation private \
      debootstrap --variant=minbase --include="$packages" bookworm "$debian" >"$cache/debootstrap.log" 2>&1 </dev/null; then
      echo "$packages" >"$debian.complete"
      return 0
    fi
    cp "$debian/debootstrap/debootstrap.log" "$cache/debootstrap-$attempt.log" 2>/dev/null || true
  done
  skip "debootstrap could not build Debian 12, see $cache/debootstrap.log"
}

write_config() { # write_config WATCH...: those watches of the example, with the paths of the machine
  printf '[artifacts]\ndir = "%s"\n' "$artifacts"
  local watch
  for watch; do
    awk -v name="\"$watch\"" '/^\[\[watch\]\]/ { held = $0; on = 0; next }
      held { on = ($3 == name); if (on) print held; held = "" }
      on && !/^#/' "$repo/examples/bundlewatch.toml" | sed 's|"\./runs|"/home/trainer/runs|'
  done
}

bundle_examples() { # bundle_examples CONFIG: what the service must publish from it, in $work/expected; archives are the same wherever they are made
  sed "s|$artifacts|$work/expected|; s|/home/trainer|$work/host|" "$1" >"$work/once.toml"
  "$work/bundlewatch" once --config "$work/once.toml" >"$work/once.log" 2>&1 || fail "bundlewatch once: $(cat "$work/once.log")"
}

archives_in() { # archives_in DIRECTORY WATCH...: digest and key of each, of the expected ones and of those in there
  local dir=$1
  shift
  (cd "$work/expected" && find "$@" -name wts.h5.zip -exec sha256sum {} + | sort -k 2) >"$work/want"
  inside sh -c "cd $dir && find $* -name wts.h5.zip -exec sha256sum {} + | sort -k 2" >"$work/got"
  [ -s "$work/want" ] && cmp "$work/want" "$work/got"
}

inside() { # inside COMMAND...: run in the booted Debian
  timeout 60 nsenter --target "$leader" --mount --uts --ipc --net --pid --root --wd \
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb "$@" </dev/null
}

eventually() { # eventually SECONDS COMMAND...: until it succeeds
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.2
  done
}

# grep -q ends early, and what writes into it then fails.
says() { grep -E "$1" >/dev/null; } # says PATTERN: does a line of the input match?

find_leader() { leader=$(pgrep --parent "$nspawn" --oldest); }

is_up() { inside systemctl is-system-running | says 'running|degraded'; }

boot() {
  # All that is written goes to memory and is gone with the machine.
  systemd-nspawn --quiet --directory="$debian" --volatile=overlay --bind-ro="$work/host:/host" --boot \
    --private-network --register=no --keep-unit --hostname=bundlewatch-test >"$work/console.log" 2>&1 </dev/null &
  nspawn=$!
  if ! eventually 15 find_leader || ! eventually 60 is_up; then
    skip "systemd does not boot in a container here: $(tail -n 1 "$work/console.log" | tr -cd '[:print:]')"
  fi
}

clean_up() {
  if [ -n "$nspawn" ] && kill -TERM "$nspawn" 2>/dev/null; then
    eventually 20 gone "$nspawn" || kill -KILL ${leader:+"$leader"} "$nspawn" 2>/dev/null || true
    wait "$nspawn" 2>/dev/null || true
  fi
  [ -z "$work" ] || rm -rf "$work"
}

gone() { ! kill -0 "$1" 2>/dev/null; }
