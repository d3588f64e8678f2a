#!/usr/bin/env bash
# Runs the service as an administrator would, in a Debian of its own under a real systemd: install, start,
# bundles of another user's private files, reload, crash, stop, a bad reload, a bad restart, as another user.
#
#   BUNDLEWATCH_BIN  the binary to run; built from this checkout when unset
#
# Needs root, and debootstrap and systemd-nspawn, which are installed where apt-get can. The Debian is kept
# in the cache directory and never written to: remove it to get a newer one.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/bundlewatch/systemd
debian=$cache/debian-12
packages=systemd,dbus,procps
artifacts=/var/lib/bundlewatch/artifacts
work=
nspawn=
leader=

skip() {
  echo "SKIP: service under systemd: $*"
  exit 0
}

fail() {
  echo "FAIL: $*" >&2
  [ -z "$leader" ] || inside journalctl --no-pager --unit=bundlewatch --lines=40 >&2 || true
  exit 1
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
  rm -rf "$debian" "$debian.complete"
  timeout 300 debootstrap --variant=minbase --include="$packages" bookworm "$debian" >"$cache/debootstrap.log" 2>&1 </dev/null ||
    skip "debootstrap could not build Debian 12, see $cache/debootstrap.log"
  echo "$packages" >"$debian.complete"
}

inside() { # inside COMMAND...: run in the booted Debian
  timeout 60 nsenter --target "$leader" --mount --uts --ipc --net --pid --root --wd \
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb "$@" </dev/null
}

eventually() { # eventually SECONDS COMMAND...: until it succeeds
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.2
  done
}

find_leader() { leader=$(pgrep --parent "$nspawn" --oldest); }

is_up() { inside systemctl is-system-running | grep -qE 'running|degraded'; }

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

prepare() {
  local host=$work/host
  mkdir -p "$host"
  if [ -n "${BUNDLEWATCH_BIN:-}" ]; then
    cp "$BUNDLEWATCH_BIN" "$host/bundlewatch"
  else
    (cd "$repo" && CGO_ENABLED=0 go build -trimpath -o "$host/bundlewatch" ./cmd/bundlewatch)
  fi
  cp -r "$repo/systemd" "$repo/examples/runs" "$host/"
  write_config >"$host/bundlewatch.toml" pairs
  write_config >"$host/more.toml" pairs unified
  { write_config pairs && echo 'nonsense = true'; } >"$host/bad.toml"
  # The archives are the same wherever they are made.
  sed "s|$artifacts|$work/expected|; s|/home/trainer|$host|" "$host/more.toml" >"$work/once.toml"
  "$host/bundlewatch" once --config "$work/once.toml" >"$work/once.log" 2>&1 ||
    fail "bundlewatch once: $(cat "$work/once.log")"
  chmod -R a+rX "$work"
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

install_service() {
  inside install -m 755 /host/bundlewatch /usr/bin/bundlewatch
  inside install -D -m 644 -t /etc/systemd/system /host/systemd/bundlewatch.service
  inside install -D -m 644 -t /usr/lib/sysusers.d /host/systemd/sysusers.d/bundlewatch.conf
  inside systemd-sysusers
  inside install -D -m 644 /host/bundlewatch.toml /etc/bundlewatch/bundlewatch.toml
  # Another user's files, closed to everyone else, as Lightning leaves them.
  inside useradd --create-home trainer
  inside cp -r /host/runs /home/trainer/runs
  inside chown -R trainer: /home/trainer
  inside chmod -R u=rwX,go= /home/trainer
  inside systemctl daemon-reload
}

archives() { # archives WATCH...: digest and key of each, of the expected ones and of the service's
  (cd "$work/expected" && find "$@" -name wts.h5.zip -exec sha256sum {} + | sort -k 2) >"$work/want"
  inside sh -c "cd $artifacts && find $* -name wts.h5.zip -exec sha256sum {} + | sort -k 2" >"$work/got"
  [ -s "$work/want" ] && cmp "$work/want" "$work/got"
}

show() { inside systemctl show --value --property="$1" bundlewatch; }

status_says() { show StatusText | grep -F "$1"; }

is_failed() { [ "$(show ActiveState)" = failed ]; }

no_errors() { # the journal holds nothing of priority err or worse
  local errors
  errors=$(inside journalctl --quiet --no-pager --unit=bundlewatch --priority=err) || fail "journalctl: $errors"
  [ -z "$errors" ] || fail "errors in the journal: $errors"
}

all_closed() { # the manifests say that leases proved every member closed
  local unproven
  unproven=$(inside grep -rhF --include=bundle_manifest.json '"closed":' "$artifacts" | grep -vF '"closed": "yes') || true
  [ -z "$unproven" ] || fail "leases were not granted: $unproven"
}

test_start() {
  inside systemctl start bundlewatch || fail "the service does not start"
  [ "$(show ActiveState)" = active ] || fail "the service is $(show ActiveState)"
  eventually 60 archives pairs || fail "bundles of the first config: $(diff "$work/want" "$work/got")"
  inside setpriv --reuid=bundlewatch --regid=bundlewatch --clear-groups bundlewatch verify "$artifacts" >"$work/verify.log" 2>&1 ||
    fail "bundlewatch verify: $(cat "$work/verify.log")"
  all_closed
  [ "$(inside stat --format=%a:%U /var/lib/bundlewatch)" = 750:bundlewatch ] || fail "bundles of private files are open to others"
  echo "start: $(wc -l <"$work/got") bundles of private files; $(show StatusText)"
}

test_second_instance() {
  local status=0
  inside setpriv --reuid=bundlewatch --regid=bundlewatch --clear-groups \
    bundlewatch run --config /etc/bundlewatch/bundlewatch.toml >"$work/second.log" 2>&1 || status=$?
  [ "$status" = 75 ] || fail "a second instance ended with $status: $(cat "$work/second.log")"
  echo "second instance: $(tail -n 1 "$work/second.log")"
}

test_reload() {
  local pid
  pid=$(show MainPID)
  inside install -m 644 /host/more.toml /etc/bundlewatch/bundlewatch.toml
  inside systemctl reload bundlewatch || fail "systemctl reload"
  eventually 60 archives pairs unified || fail "bundles after the reload: $(diff "$work/want" "$work/got")"
  [ "$(show MainPID)" = "$pid" ] || fail "the reload made a new process"
  echo "reload: $(wc -l <"$work/got") bundles; $(show StatusText)"
}

is_restarted() { [ "$(show NRestarts):$(show ActiveState)" = 1:active ]; }

test_crash() {
  inside kill -KILL "$(show MainPID)"
  eventually 30 is_restarted || fail "after a crash the service is $(show ActiveState)"
  archives pairs unified || fail "bundles after a crash: $(diff "$work/want" "$work/got")"
  echo "crash: started again, the same bundles"
}

test_stop() {
  inside systemctl stop bundlewatch || fail "systemctl stop"
  [ "$(show ActiveState):$(show Result)" = inactive:success ] || fail "stopped as $(show ActiveState), $(show Result)"
  local litter
  litter=$(inside find "$artifacts/.staging" -mindepth 1)
  [ -z "$litter" ] || fail "left behind: $litter"
  no_errors
  echo "stop: no error in the journal, nothing left in .staging"
}

test_bad_reload() {
  inside systemctl start bundlewatch || fail "the service does not start again"
  local pid
  pid=$(show MainPID)
  inside install -m 644 /host/bad.toml /etc/bundlewatch/bundlewatch.toml
  inside systemctl reload bundlewatch || fail "systemctl reload"
  eventually 20 status_says "old config stays in force" || fail "the status after a bad reload: $(show StatusText)"
  [ "$(show ActiveState):$(show MainPID)" = "active:$pid" ] || fail "a bad reload ended the service"
  inside journalctl --no-pager --unit=bundlewatch | grep -qF nonsense || fail "the journal does not name the unknown key"
  echo "bad reload: $(show StatusText)"
}

test_bad_restart() {
  inside systemctl restart bundlewatch && fail "the service starts with a bad config"
  eventually 20 is_failed || fail "the service is $(show ActiveState)"
  [ "$(show ExecMainStatus):$(show NRestarts)" = 78:0 ] ||
    fail "a bad config ended with $(show ExecMainStatus) and $(show NRestarts) restarts"
  echo "bad restart: exit code 78, not tried again"
}

test_as_user() {
  inside install -m 644 /host/bundlewatch.toml /etc/bundlewatch/bundlewatch.toml
  inside install -D -m 644 -t /etc/systemd/system/bundlewatch.service.d /host/systemd/drop-ins/as-user.conf
  inside rm -r "$artifacts"
  inside systemctl daemon-reload
  inside systemctl start bundlewatch || fail "the service does not start as the user who trains"
  eventually 60 archives pairs || fail "bundles as the user who trains: $(diff "$work/want" "$work/got")"
  all_closed
  inside systemctl stop bundlewatch || fail "systemctl stop"
  echo "as the user who trains, without capabilities: $(wc -l <"$work/got") bundles"
}

[ "$(id -u)" = 0 ] || skip "needs root"
command -v nsenter >/dev/null || skip "nsenter is not installed"
mkdir -p "$cache"
install_tools
build_debian
work=$(mktemp -d "${TMPDIR:-/tmp}/bundlewatch-boot.XXXXXX")
trap clean_up EXIT
prepare
boot
install_service
test_start
test_second_instance
test_reload
test_crash
test_stop
test_bad_reload
test_bad_restart
test_as_user
