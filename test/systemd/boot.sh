#!/usr/bin/env bash
# Runs the service as an administrator would, in a Debian of its own under a real systemd: install, start,
# bundles of another user's private files, reload, crash, stop, a bad reload, a bad restart, a stop while a
# large set is packed, a watchdog that starves, each drop-in, and the service of a user.
#
#   BUNDLEWATCH_BIN  the binary to run; built from this checkout when unset
#
# See machine.sh for what it needs and installs.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=machine.sh
. "$repo/test/systemd/machine.sh"
drop_ins=/usr/local/share/doc/bundlewatch/drop-ins
# CAP_DAC_READ_SEARCH is bit 2, CAP_LEASE is bit 28 (linux/capability.h).
readonly capabilities=0000000010000004 no_capabilities=0000000000000000

fail() {
  echo "FAIL: $*" >&2
  if [ -n "$leader" ]; then
    inside journalctl --no-pager --unit=bundlewatch --lines=40 >&2 || true
    [ -z "${alice:-}" ] || inside journalctl --no-pager "_UID=$alice" --lines=40 >&2 || true
  fi
  exit 1
}

prepare() {
  local host=$work/host
  mkdir -p "$host"
  if [ -n "${BUNDLEWATCH_BIN:-}" ]; then
    cp "$BUNDLEWATCH_BIN" "$work/bundlewatch"
  else
    (cd "$repo" && CGO_ENABLED=0 go build -trimpath -o "$work/bundlewatch" ./cmd/bundlewatch)
  fi
  make -s -C "$repo" install BINARY="$work/bundlewatch" DESTDIR="$host/root" >"$work/install.log" 2>&1 ||
    fail "make install: $(cat "$work/install.log")"
  cp -r "$repo/examples/runs" "$host/"
  write_config >"$host/bundlewatch.toml" pairs
  write_config >"$host/more.toml" pairs unified
  { write_config pairs && echo 'nonsense = true'; } >"$host/bad.toml"
  { write_config pairs && write_big_watch; } >"$host/big.toml"
  write_config pairs | sed 's|^root = .*|&\nsettle = "1h"|' >"$host/drain.toml"
  { write_config pairs && printf '[http]\nlisten = "127.0.0.1:9464"\n'; } >"$host/http.toml"
  { write_config pairs &&
    printf '[[push]]\nname = "lab"\nkind = "oci"\nrepository = "127.0.0.1:9/models"\nplain_http = true\n'; } >"$host/push.toml"
  { write_config pairs && printf '[sign]\nkey = "/etc/bundlewatch/signing.pem"\n'; } >"$host/signed.toml"
  write_config pairs | sed 's|/home/trainer|/home/alice|; s|^dir = .*|dir = "/home/alice/.local/share/bundlewatch/artifacts"|' \
    >"$host/alice.toml"
  bundle_examples "$host/more.toml"
  chmod -R a+rX "$work"
}

write_big_watch() {
  cat <<'END'
[[watch]]
name = "big"
root = "/home/trainer/big"
settle = "100ms"
[watch.members]
a = "{run}-a.safetensors"
b = "{run}-b.safetensors"
END
}

install_service() {
  inside cp -r /host/root/. /
  inside systemd-sysusers
  inside systemd-tmpfiles --create bundlewatch.conf
  inside install -D -m 644 /host/bundlewatch.toml /etc/bundlewatch/bundlewatch.toml
  [ "$(inside stat --format=%a:%U:%G "$state" "$artifacts")" = "$(printf '%s\n' 750:bundlewatch:bundlewatch{,})" ] ||
    fail "systemd-tmpfiles made $(inside ls -ld "$state" "$artifacts")"
  inside /lib/systemd/systemd-sysctl --cat-config | says '^fs.inotify.max_user_watches' || fail "systemd-sysctl does not find the file"
  # Another user's files, closed to everyone else, as Lightning leaves them.
  inside useradd --create-home trainer
  inside cp -r /host/runs /home/trainer/runs
  inside mkdir /home/trainer/big /home/trainer/project
  inside chown -R trainer: /home/trainer
  inside chmod -R u=rwX,go= /home/trainer
  inside systemctl daemon-reload
  echo "install: make install, systemd-sysusers and systemd-tmpfiles"
}

archives() { # archives WATCH...: digest and key of each, of the expected ones and of the service's
  archives_in "$artifacts" "$@"
}

show() { inside systemctl show --value --property="$1" bundlewatch; }

status_says() { show StatusText | grep -F "$1"; }

is_failed() { [ "$(show ActiveState)" = failed ]; }

configure() { inside install -m 644 "/host/$1" /etc/bundlewatch/bundlewatch.toml; }

as_service() { inside setpriv --reuid=bundlewatch --regid=bundlewatch --clear-groups "$@"; }

# In the mount namespace of the service, where root itself can write only what the service's unit opens.
can_write() { # can_write DIRECTORY
  inside nsenter --target "$(show MainPID)" --mount touch "$1/probe" 2>/dev/null && inside rm "$1/probe"
}

process_capabilities() { # process_capabilities PID
  inside sed -n 's/^CapEff:\t//p; s/^CapBnd:\t//p' "/proc/$1/status" | sort -u
}

no_errors() { # the journal holds nothing of priority err or worse
  local errors
  errors=$(inside journalctl --quiet --no-pager --unit=bundlewatch --priority=err) || fail "journalctl: $errors"
  [ -z "$errors" ] || fail "errors in the journal: $errors"
}

all_closed() { # the manifests say that leases proved every member closed
  local unproven
  unproven=$(inside grep -rhF --include=bundle_manifest.json '"closed":' "$1" | grep -vF '"closed": "yes') || true
  [ -z "$unproven" ] || fail "leases were not granted: $unproven"
}

no_litter() {
  local litter
  litter=$(inside find "$artifacts/.staging" -mindepth 1)
  [ -z "$litter" ] || fail "left behind: $litter"
}

must_verify() {
  as_service bundlewatch verify "$artifacts" >"$work/verify.log" 2>&1 || fail "bundlewatch verify: $(cat "$work/verify.log")"
}

test_start() {
  inside systemctl start bundlewatch || fail "the service does not start"
  [ "$(show ActiveState)" = active ] || fail "the service is $(show ActiveState)"
  eventually 60 archives pairs || fail "bundles of the first config: $(diff "$work/want" "$work/got")"
  must_verify
  all_closed "$artifacts"
  [ "$(inside stat --format=%a:%U "$state")" = 750:bundlewatch ] || fail "bundles of private files are open to others"
  echo "start: $(wc -l <"$work/got") bundles of private files; $(show StatusText)"
}

test_sandbox() {
  local pid
  pid=$(show MainPID)
  [ "$(process_capabilities "$pid")" = "$capabilities" ] || fail "capabilities: $(process_capabilities "$pid")"
  [ "$(inside ps -o user= "$pid")" = bundlewat+ ] || [ "$(inside ps -o user= "$pid")" = bundlewatch ] ||
    fail "it runs as $(inside ps -o user= "$pid")"
  ! can_write /home/trainer/runs || fail "the service could write into the runs"
  ! can_write /etc || fail "the service could write into /etc"
  can_write "$artifacts" || fail "the service cannot write into its artifact directory"
  [ "$(inside readlink "/proc/$pid/ns/net")" != "$(inside readlink /proc/1/ns/net)" ] || fail "the service has a network"
  [ "$(show IOSchedulingClass):$(show CPUWeight):$(show Nice)" = 3:5:10 ] ||
    fail "I/O class, CPU weight and niceness are $(show IOSchedulingClass), $(show CPUWeight), $(show Nice)"
  weighs_against_slices "$pid"
  inside ionice -p "$pid" | says idle || fail "its I/O class is $(inside ionice -p "$pid")"
  echo "sandbox: two capabilities, no network, idle I/O, nothing writable but $artifacts"
}

cgroup_of() { inside sed -n '/^[0-9]*:\(name=systemd\)\{0,1\}:/{s///p;q}' "/proc/$1/cgroup"; } # cgroup_of PID

# Weights count among the children of one cgroup: what people and services train in are user.slice and system.slice.
weighs_against_slices() { # weighs_against_slices PID
  local group parent weights
  group=$(cgroup_of "$1")
  parent=${group%/*}
  [ "$group" = "$parent/bundlewatch.service" ] && [ "$parent/init.scope" = "$(cgroup_of 1)" ] || fail "its cgroup is $group, which is none beside the slices"
  if ! inside test -e "/sys/fs/cgroup$group/cpu.weight"; then
    echo "SKIP: weights of cgroups: the machine has no CPU controller of version 2"
    return
  fi
  weights=$(inside cat "/sys/fs/cgroup$group/cpu.weight" "/sys/fs/cgroup$parent/system.slice/cpu.weight" | paste -sd :)
  [ "$weights" = 5:100 ] || fail "its weight and that of system.slice are $weights"
}

journal() { # journal PRIORITY: what the service itself logged with it
  inside journalctl --quiet --no-pager --output=cat _SYSTEMD_UNIT=bundlewatch.service SYSLOG_IDENTIFIER=bundlewatch "PRIORITY=$1"
}

test_journal() {
  local line field broken=/home/trainer/runs/pairs/broken/checkpoints
  journal 6 >"$work/journal"
  line=$(grep -m 1 -F '"message":"bundle published"' "$work/journal")
  for field in level time watch key path bytes tensors seconds; do
    grep -qF "\"$field\":" <<<"$line" || fail "no $field in the journal's line of a bundle: $line"
  done
  ! grep -v '^{"level":".*}$' "$work/journal" || fail "lines that are no JSON objects, see above"
  inside install -D -m 600 -o trainer /dev/null "$broken/autoencoder-epoch=00.ckpt"
  inside sh -c "head -c 5000 /dev/urandom >$broken/autoencoder-epoch=00.ckpt; cp $broken/autoencoder-epoch=00.ckpt $broken/diffraction_to_obj-epoch=00.ckpt"
  eventually 30 has_refusal || fail "the journal does not tell of a refusal: $(journal 4)"
  grep -F '"message":"refused"' "$work/refusals" | grep -F '"reason":' | says '"path":"/home/trainer/runs/pairs/broken' ||
    fail "a refusal without reason and path: $(cat "$work/refusals")"
  sleep 3
  has_refusal
  [ "$(sort "$work/refusals" | uniq -c | awk '$1 > 1')" = "" ] && [ "$(grep -cF refused "$work/refusals")" -le 2 ] ||
    fail "a refusal is repeated: $(cat "$work/refusals")"
  inside rm -r /home/trainer/runs/pairs/broken
  echo "journal: bundles with priority info, refusals with priority warning, each once, with stable fields"
}

has_refusal() { journal 4 >"$work/refusals" && grep -qF '"message":"refused"' "$work/refusals"; }

has_verb() { inside bundlewatch help | says "^ +bundlewatch $1\b"; }

status_as() { # status_as GROUP
  inside setpriv --reuid=trainer --regid="$1" --clear-groups bundlewatch status --json --config /etc/bundlewatch/bundlewatch.toml
}

test_status() {
  has_verb status || { echo "status: this binary has no such verb"; return; }
  local sockets
  sockets=$(inside find /run/bundlewatch -type s -exec stat --format=%a:%U:%G {} +)
  [ "$sockets" = 660:bundlewatch:bundlewatch ] || fail "sockets in /run/bundlewatch: $sockets"
  status_as bundlewatch >"$work/status.json" || fail "status for a member of the group: $(cat "$work/status.json")"
  grep -qF /home/trainer/runs/pairs "$work/status.json" || fail "status does not show the root: $(cat "$work/status.json")"
  ! status_as trainer >"$work/status.log" 2>&1 || fail "status answers to a user outside the group"
  echo "status: socket of mode 660, for members of the group bundlewatch alone"
}

test_second_instance() {
  local status=0
  as_service bundlewatch run --config /etc/bundlewatch/bundlewatch.toml >"$work/second.log" 2>&1 || status=$?
  [ "$status" = 75 ] || fail "a second instance ended with $status: $(cat "$work/second.log")"
  echo "second instance: $(tail -n 1 "$work/second.log")"
}

test_reload() {
  local pid
  pid=$(show MainPID)
  configure more.toml
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
  no_litter
  no_errors
  echo "stop: no error in the journal, nothing left in .staging"
}

# What is whole when the service is stopped is bundled first, however young it is.
test_stop_drains() {
  local run=/home/trainer/runs/pairs/drained
  configure drain.toml
  inside systemctl start bundlewatch || fail "the service does not start"
  inside cp -r /host/runs/pairs/run_20251017_104700 "$run"
  inside chown -R trainer: "$run"
  inside systemctl stop bundlewatch || fail "systemctl stop"
  [ "$(show ActiveState):$(show Result)" = inactive:success ] || fail "stopped as $(show ActiveState), $(show Result)"
  inside grep -F '"closed": "yes' "$artifacts/pairs/drained/01/bundle_manifest.json" | says . || fail "the stop did not drain"
  must_verify
  no_litter
  no_errors
  inside rm -r "$artifacts/pairs/drained" "$run"
  echo "stop: a pair that was written a moment before was bundled"
}

write_big_member() { # write_big_member FILE: 768 MiB of zeros, as safetensors
  inside bash -c '
    set -e
    header="{\"w\":{\"dtype\":\"U8\",\"shape\":[805306368],\"data_offsets\":[0,805306368]}}"
    { printf "\\x$(printf %02x ${#header})\0\0\0\0\0\0\0"; printf %s "$header"; } >"$1"
    truncate --size=+805306368 "$1"' - "$1"
}

# Stops the service as soon as something is being written into the stage.
stop_while_packing() {
  inside timeout 50 bash -c '
    until find "$1/.staging" -mindepth 2 -name wts.h5.zip -size +1M 2>/dev/null | grep . >/dev/null; do sleep 0.01; done
    systemctl stop bundlewatch' - "$artifacts"
}

big_bundles() { inside find "$artifacts/big" -name bundle_manifest.json 2>/dev/null || true; }

has_one_big_bundle() { [ "$(big_bundles | wc -l)" = 1 ]; }

test_stop_while_packing() {
  configure big.toml
  inside systemctl start bundlewatch || fail "the service does not start"
  write_big_member /home/trainer/big/r-a.safetensors
  write_big_member /home/trainer/big/r-b.safetensors
  local started=$SECONDS
  stop_while_packing || fail "no packing of the large set was seen"
  [ "$(show ActiveState):$(show Result):$(show ExecMainStatus)" = inactive:success:0 ] ||
    fail "stopped while packing as $(show ActiveState), $(show Result), exit code $(show ExecMainStatus)"
  no_litter
  local found
  found=$(big_bundles | wc -l)
  must_verify
  inside systemctl start bundlewatch || fail "the service does not start again"
  eventually 150 has_one_big_bundle || fail "bundles of the large set: $(big_bundles)"
  must_verify
  inside systemctl stop bundlewatch || fail "systemctl stop"
  no_litter
  no_errors
  inside rm -r "$artifacts/big" /home/trainer/big
  echo "stop while packing 1.5 GiB: exit code 0 after $((SECONDS - started)) s at most, $found bundles, nothing left; bundled after the next start"
}

test_bad_reload() {
  configure more.toml
  inside systemctl start bundlewatch || fail "the service does not start again"
  local pid
  pid=$(show MainPID)
  configure bad.toml
  inside systemctl reload bundlewatch || fail "systemctl reload"
  eventually 20 status_says "old config stays in force" || fail "the status after a bad reload: $(show StatusText)"
  [ "$(show ActiveState):$(show MainPID)" = "active:$pid" ] || fail "a bad reload ended the service"
  inside journalctl --no-pager --unit=bundlewatch | says nonsense || fail "the journal does not name the unknown key"
  echo "bad reload: $(show StatusText)"
}

test_bad_restart() {
  inside systemctl restart bundlewatch && fail "the service starts with a bad config"
  eventually 20 is_failed || fail "the service is $(show ActiveState)"
  [ "$(show ExecMainStatus):$(show NRestarts)" = 78:0 ] ||
    fail "a bad config ended with $(show ExecMainStatus) and $(show NRestarts) restarts"
  echo "bad restart: exit code 78, not tried again"
}

override() { # override TEXT: a drop-in of this test, "" for none
  inside rm -rf /run/systemd/system/bundlewatch.service.d
  [ -z "$1" ] || inside sh -c "mkdir -p /run/systemd/system/bundlewatch.service.d && printf '%b' '$1' >/run/systemd/system/bundlewatch.service.d/test.conf"
  inside systemctl daemon-reload
}

# A process that does not go on is ended by the watchdog and started anew.
test_watchdog() {
  configure more.toml
  override '[Service]\nWatchdogSec=5\nRestartSec=0\n'
  inside systemctl reset-failed bundlewatch
  inside systemctl start bundlewatch || fail "the service does not start"
  sleep 6
  [ "$(show NRestarts)" = 0 ] || fail "the watchdog ended a service that goes on"
  local pid
  pid=$(show MainPID)
  inside kill -STOP "$pid"
  eventually 30 is_restarted || fail "after a stall the service is $(show ActiveState) with $(show NRestarts) restarts"
  [ "$(show MainPID)" != "$pid" ] || fail "the watchdog did not end the process"
  inside journalctl --no-pager --unit=bundlewatch --grep='Watchdog timeout' --quiet | says . || fail "it was not the watchdog"
  inside journalctl --no-pager --unit=bundlewatch --grep='goroutine' --quiet | says . ||
    fail "the journal does not show where the process stood"
  sleep 1
  archives pairs unified || fail "bundles after a stall: $(diff "$work/want" "$work/got")"
  inside systemctl stop bundlewatch
  override ''
  no_litter
  echo "watchdog: ended with a trace of every goroutine and started again, the same bundles"
}

use_drop_in() { # use_drop_in NAME...: instead of those that are used, and start
  inside systemctl stop bundlewatch
  inside rm -rf /etc/systemd/system/bundlewatch.service.d
  local name
  for name; do
    inside install -D -m 644 -t /etc/systemd/system/bundlewatch.service.d "$drop_ins/$name.conf"
  done
  inside systemctl daemon-reload
  inside systemctl start bundlewatch || fail "the service does not start with $*"
}

test_http() {
  configure bundlewatch.toml
  use_drop_in http
  [ "$(inside readlink "/proc/$(show MainPID)/ns/net")" = "$(inside readlink /proc/1/ns/net)" ] || fail "the service has no network"
  if inside bundlewatch check --config /host/http.toml >/dev/null 2>&1; then
    configure http.toml
    inside systemctl restart bundlewatch || fail "the service does not start with a listener"
    eventually 20 answers || fail "no answer from http://127.0.0.1:9464/healthz"
    echo "http: answers on the loopback interface"
  else
    echo "http: the drop-in opens the network; this binary has no listener"
  fi
  configure bundlewatch.toml
}

test_send() { # nobody listens on that port: what matters is that the call goes out
  configure push.toml
  use_drop_in send
  eventually 20 status_says "sending to lab fails" || fail "nothing is sent: $(show StatusText)"
  status_says "connection refused" >/dev/null || fail "the sandbox lets no call out: $(show StatusText)"
  configure bundlewatch.toml
  echo "send: calls go out to the registry"
}

answers() {
  inside bash -c 'exec 3<>/dev/tcp/127.0.0.1/9464 && printf "GET /healthz HTTP/1.0\r\n\r\n" >&3 && head -n 1 <&3' | grep -F ' 200 '
}

test_tidy() {
  use_drop_in tidy
  can_write /home/trainer/project || fail "the service cannot write into the root of [[tidy]]"
  ! can_write /home/trainer/runs || fail "the service could write into the runs"
  echo "tidy: only that root is writable"
}

# A trainer of another user at work: a log of the run is open, and a pair comes.
test_writers() {
  local run=/home/trainer/runs/pairs/live manifest=$artifacts/pairs/live/00/bundle_manifest.json
  use_drop_in writers
  inside mkdir -p "$run"
  inside cp -r /home/trainer/runs/pairs/run_20251017_104700/configs "$run/"
  inside chown -R trainer: "$run"
  inside setpriv --reuid=trainer --regid=trainer --clear-groups env SLURM_JOB_ID=4711 API_KEY=secret bash -c '
    exec 3>"$1/train.log"
    cp -r "$1/../run_20251017_104700/checkpoints" "$1/"
    for i in {1..400}; do test ! -e "$1/end" || exit 0; sleep 0.1; done' - "$run" &
  local trainer=$!
  eventually 30 inside test -e "$manifest" || fail "no bundle of a run that goes on"
  inside touch "$run/end"
  wait "$trainer"
  inside cat "$manifest" >"$work/manifest"
  says '"SLURM_JOB_ID": "4711"' <"$work/manifest" || fail "the writer is not in the manifest: $(sed -n '/"provenance"/,$p' "$work/manifest")"
  says '"user": "trainer"' <"$work/manifest" || fail "the writer's user: $(sed -n '/"provenance"/,$p' "$work/manifest")"
  ! says secret <"$work/manifest" || fail "the manifest holds a secret"
  inside rm -r "$run" "$artifacts/pairs/live"
  echo "writers: the trainer's process, user and Slurm job are in the manifest"
}

test_no_capabilities() {
  use_drop_in no-capabilities
  [ "$(process_capabilities "$(show MainPID)")" = "$no_capabilities" ] || fail "it has capabilities"
  inside systemctl stop bundlewatch
  inside rm -r "$artifacts/pairs"
  inside chmod -R go+rX /home/trainer
  inside systemctl start bundlewatch || fail "the service does not start without capabilities"
  eventually 60 archives pairs || fail "bundles without capabilities: $(diff "$work/want" "$work/got")"
  inside grep -rhF --include=bundle_manifest.json '"closed":' "$artifacts" | says '"closed": "unknown' ||
    fail "evidence without leases: $(inside grep -rhF '"closed":' "$artifacts")"
  inside chmod -R u=rwX,go= /home/trainer
  echo "without capabilities: $(wc -l <"$work/got") bundles of what all may read, whether closed is unknown"
}

# The key is root's; the service, without capabilities, has it from systemd.
test_sign() {
  inside bundlewatch keygen /etc/bundlewatch/signing.pem >/dev/null || fail "bundlewatch keygen"
  ! as_service cat /etc/bundlewatch/signing.pem >/dev/null 2>&1 || fail "the service's user can read the key"
  inside systemctl stop bundlewatch
  inside rm -r "$artifacts/pairs"
  inside chmod -R go+rX /home/trainer
  configure signed.toml
  use_drop_in no-capabilities sign
  eventually 60 archives pairs || fail "signed bundles: $(diff "$work/want" "$work/got")"
  inside bundlewatch verify --key /etc/bundlewatch/signing.pub "$artifacts/pairs" >"$work/signed" || fail "signatures: $(cat "$work/signed")"
  inside chmod -R u=rwX,go= /home/trainer
  configure bundlewatch.toml
  echo "signed: $(grep -c 'signed with' "$work/signed") bundles, with a credential of systemd"
}

test_as_user() {
  inside systemctl stop bundlewatch
  inside rm -r "$artifacts"
  use_drop_in as-user
  [ "$(process_capabilities "$(show MainPID)")" = "$no_capabilities" ] || fail "it has capabilities"
  eventually 60 archives pairs || fail "bundles as the user who trains: $(diff "$work/want" "$work/got")"
  all_closed "$artifacts"
  inside systemctl stop bundlewatch || fail "systemctl stop"
  inside rm -r /etc/systemd/system/bundlewatch.service.d
  echo "as the user who trains, without capabilities: $(wc -l <"$work/got") bundles"
}

as_alice() { inside setpriv --reuid="$alice" --regid="$alice" --clear-groups env HOME=/home/alice XDG_RUNTIME_DIR="/run/user/$alice" "$@"; }

alice_is_up() { as_alice systemctl --user is-system-running | says 'running|degraded'; }

show_alice() { as_alice systemctl --user show --value --property="$1" bundlewatch-user; }

start_manager_of_alice() {
  inside useradd --create-home alice
  alice=$(inside id -u alice)
  inside loginctl enable-linger alice && eventually 20 alice_is_up
}

test_user_service() {
  if ! start_manager_of_alice >"$work/alice.log" 2>&1; then
    echo "SKIP: service of a user: no manager of a user in the container: $(tail -n 1 "$work/alice.log")"
    return
  fi
  inside cp -r /host/runs /home/alice/runs
  inside chown -R alice: /home/alice
  inside chmod -R u=rwX,go= /home/alice
  as_alice systemd-tmpfiles --user --create
  [ "$(inside stat --format=%a:%U /home/alice/.local/share/bundlewatch/artifacts)" = 700:alice ] || fail "no directories for the service of a user"
  as_alice install -m 600 /host/alice.toml /home/alice/.config/bundlewatch/bundlewatch.toml
  as_alice systemctl --user daemon-reload
  run_as_alice "in a user namespace"
  [ "$(process_capabilities "$alice_pid")" = "$no_capabilities" ] || fail "the service of a user has capabilities"
  ! inside nsenter --target "$alice_pid" --mount touch /home/alice/runs/probe 2>/dev/null || fail "the service of a user could write into the runs"
  [ "$(inside readlink "/proc/$alice_pid/ns/net")" != "$(inside readlink /proc/1/ns/net)" ] || fail "the service of a user has a network"
  stop_alice

  inside rm -r /home/alice/.local/share/bundlewatch/artifacts/pairs
  as_alice mkdir -p /home/alice/.config/systemd/user/bundlewatch-user.service.d
  as_alice install -m 644 -t /home/alice/.config/systemd/user/bundlewatch-user.service.d "$drop_ins/user-no-namespaces.conf"
  as_alice systemctl --user daemon-reload
  run_as_alice "without namespaces"
  stop_alice
}

run_as_alice() { # run_as_alice LABEL
  as_alice systemctl --user start bundlewatch-user || fail "the service of a user does not start $1"
  alice_pid=$(show_alice MainPID)
  eventually 60 archives_in /home/alice/.local/share/bundlewatch/artifacts pairs ||
    fail "bundles of the service of a user: $(diff "$work/want" "$work/got")"
  all_closed /home/alice/.local/share/bundlewatch/artifacts
  if has_verb status; then
    as_alice bundlewatch status --json --config /home/alice/.config/bundlewatch/bundlewatch.toml | says /home/alice/runs ||
      fail "the service of a user does not answer to bundlewatch status"
  fi
  as_alice systemctl --user reload bundlewatch-user || fail "systemctl --user reload"
  inside kill -KILL "$alice_pid"
  eventually 30 alice_is_restarted || fail "after a crash the service of a user is $(show_alice ActiveState)"
  alice_pid=$(show_alice MainPID)
  echo "service of a user, $1: $(wc -l <"$work/got") bundles; $(show_alice StatusText)"
}

alice_is_restarted() { [ "$(show_alice NRestarts):$(show_alice ActiveState)" = 1:active ]; }

stop_alice() {
  as_alice systemctl --user stop bundlewatch-user || fail "systemctl --user stop"
  [ "$(show_alice ActiveState):$(show_alice Result)" = inactive:success ] ||
    fail "the service of a user stopped as $(show_alice ActiveState), $(show_alice Result)"
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
test_sandbox
test_journal
test_status
test_second_instance
test_reload
test_crash
test_stop
test_stop_drains
test_stop_while_packing
test_bad_reload
test_bad_restart
test_watchdog
test_http
test_send
test_tidy
test_writers
test_no_capabilities
test_sign
test_as_user
test_user_service
