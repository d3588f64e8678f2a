#!/usr/bin/env bash
# Drains in the epilog of a real Slurm node on the loopback interface: a job that is requeued while it saves, its
# daemon beside it; and one that is cancelled while it saves, whose drain is killed in the middle and done again.
#
#   BUNDLEWATCH_BIN  the binary to run; built from this checkout when unset
#
# Needs root, and slurmctld, slurmd and munge of Debian, which are installed where apt-get can. They are run from a
# directory of their own, and nothing of theirs outside of it is used or changed.
set -euo pipefail
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=
started=() # process ids, in the order of their start
readonly user=nobody

skip() {
  echo "SKIP: drain under Slurm: $*"
  exit 0
}

fail() {
  echo "FAIL: $*" >&2
  tail -n 15 "$work"/*.log >&2 || true
  exit 1
}

clean_up() {
  local i
  for ((i = ${#started[@]} - 1; i >= 0; i--)); do
    kill -TERM "${started[i]}" 2>/dev/null || true
    eventually 15 gone "${started[i]}" || kill -KILL "${started[i]}" 2>/dev/null || true
    wait "${started[i]}" 2>/dev/null || true
  done
  [ -z "$work" ] || rm -rf "$work"
}

gone() { ! kill -0 "$1" 2>/dev/null; }

eventually() { # eventually SECONDS COMMAND...: until it succeeds
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.1
  done
}

install_slurm() {
  command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v sbatch >/dev/null && command -v munged >/dev/null && return
  command -v apt-get >/dev/null || skip "slurmctld, slurmd and munge are not installed, and there is no apt-get"
  # In run level 1 the packages start nothing (invoke-rc.d(8)).
  { apt-get update && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge; } \
    >"$work/apt.log" 2>&1 </dev/null || skip "apt-get could not install slurmctld, slurmd and munge: $(tail -n 1 "$work/apt.log" | tr -cd '[:print:]')"
}

start() { # start NAME COMMAND...: in the background, with a log
  local name=$1
  shift
  "$@" >"$work/$name.log" 2>&1 </dev/null &
  started+=($!)
}

free_port() { # free_port FROM: the first one from there on which nobody listens
  local port=$1
  while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
  echo "$port"
}

write_slurm_conf() {
  local node controller_port node_port
  node=$(hostname -s)
  controller_port=$(free_port 26817)
  node_port=$(free_port $((controller_port + 1)))
  cat <<END
ClusterName=bundlewatch
SlurmctldHost=$node(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge/socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort=$controller_port
SlurmdPort=$node_port
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SelectType=select/linear
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_interval=1
ReturnToService=2
KillWait=5
PrologEpilogTimeout=30
Epilog=$work/epilog
NodeName=$node NodeAddr=127.0.0.1 CPUs=1 State=UNKNOWN
PartitionName=all Nodes=$node Default=YES State=UP
END
}

start_slurm() {
  mkdir -p "$work"/{munge,state,spool}
  dd if=/dev/urandom of="$work/munge/key" bs=64 count=1 status=none
  chmod 600 "$work/munge/key"
  start munged munged --foreground --socket="$work/munge/socket" --key-file="$work/munge/key" --pid-file="$work/munge/pid" \
    --log-file="$work/munged-own.log" --seed-file="$work/munge/seed"
  eventually 10 test -S "$work/munge/socket" || skip "munged does not start here: $(tail -n 1 "$work/munged.log")"
  export SLURM_CONF=$work/slurm.conf
  write_slurm_conf >"$SLURM_CONF"
  start slurmctld slurmctld -D -f "$SLURM_CONF"
  start slurmd slurmd -D -f "$SLURM_CONF"
  eventually 20 is_idle || skip "no Slurm node comes up here: $(tail -n 1 "$work/slurmd.log")"
}

is_idle() { [ "$(sinfo --noheader --format=%t)" = idle ]; }

write_epilog() { # write_epilog CONFIG: what Slurm runs, around the one of this repository
  cat >"$work/epilog.new" <<END
#!/bin/sh
left=\$(find /proc -maxdepth 1 -user "\$SLURM_JOB_UID" -name '[0-9]*' -exec grep -lsz "^SLURM_JOB_ID=\$SLURM_JOB_ID\$" {}/environ \; 2>/dev/null | wc -l)
echo "\$SLURM_JOB_ID began: \$left processes of the job" >>$work/epilogs
BUNDLEWATCH=$work/bundlewatch BUNDLEWATCH_CONFIG=$1 BUNDLEWATCH_DRAIN=20
export BUNDLEWATCH BUNDLEWATCH_CONFIG BUNDLEWATCH_DRAIN
$repo/contrib/slurm/epilog.sh >$work/epilog.log 2>&1
echo "\$SLURM_JOB_ID ended with \$?" >>$work/epilogs
END
  chmod 755 "$work/epilog.new"
  mv "$work/epilog.new" "$work/epilog"
}

write_config() { # write_config NAME [LIMITS]: files are quiet after an hour, so that only a drain bundles them
  cat <<END
[artifacts]
dir = "$work/artifacts-$1"
[status]
socket = "$work/$1.sock"
$(printf '%b' "${2:-}")
[[watch]]
name = "pairs"
root = "$work/jobs"
settle = "1h"
[watch.members]
autoencoder        = "{run...}/checkpoints/autoencoder-epoch={epoch}.ckpt"
diffraction_to_obj = "{run...}/checkpoints/diffraction_to_obj-epoch={epoch}.ckpt"
END
}

submit() { # submit DIRECTORY: the trainer, as a user who is not root
  install -d -o "$user" "$work/jobs/$1"
  setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups \
    sbatch --parsable --requeue --open-mode=append --output=job.out --chdir="$work/jobs/$1" "$work/trainer.sh" "$work/whole" "$work/bundlewatch"
}

state_is() { [ "$(squeue --noheader --states=all --jobs="$1" --format=%T)" = "$2" ]; }

has_ended() { grep -qx "$1 ended with 0" "$work/epilogs"; }

node_is_well() { eventually 20 is_idle || fail "the node is $(sinfo --noheader --format='%t: %E')"; }

says() { grep -E "$1" >/dev/null; }

# A job that saves is requeued: the drain in its epilog goes through the daemon.
test_requeue() {
  local id dir=$work/jobs/first
  start daemon "$work/bundlewatch" run --config "$work/daemon.toml"
  eventually 20 grep -q 'ready: every root was listed' "$work/daemon.log" || fail "the daemon is not ready"
  id=$(submit first)
  eventually 30 test -e "$dir/saving" || fail "the job does not save: $(squeue)"
  [ ! -e "$work/artifacts-daemon/pairs" ] || fail "something was bundled before the drain"
  scontrol requeue "$id"
  eventually 40 has_ended "$id" || fail "the epilog does not end"
  says "^$id began: 0 processes of the job" <"$work/epilogs" || fail "the epilog ran beside the job: $(cat "$work/epilogs")"
  local last=$dir/run/checkpoints/autoencoder-epoch=01.ckpt
  [ "$(stat --format=%U:%a "$dir/.bundlewatch-resume-$id")" = "$user:600" ] || fail "the answer: $(ls -la "$dir")"
  [ "$(cut -c 67- "$dir/.bundlewatch-resume-$id")" = "$(printf '%s\n' "$last" "$dir/run/checkpoints/diffraction_to_obj-epoch=01.ckpt")" ] ||
    fail "the answer is $(cat "$dir/.bundlewatch-resume-$id")"
  [ ! -e "$work/artifacts-daemon/pairs/first/run/02" ] || fail "the pair that was being saved was bundled"
  eventually 20 state_is "$id" PENDING || fail "the job is not requeued: $(squeue)"
  scontrol update "JobId=$id" StartTime=now
  eventually 40 state_is "$id" COMPLETED || fail "the requeued job: $(squeue --states=all); $(cat "$dir/job.out")"
  says "^life 2 of job $id resumes from $last$" <"$dir/job.out" || fail "the requeued job said $(cat "$dir/job.out")"
  [ "$(grep -c ': OK$' "$dir/sums")" = 2 ] || fail "what it resumed from: $(cat "$dir/sums")"
  [ -s "$dir/inspected" ] || fail "the checkpoint that it resumed from was not whole"
  node_is_well
  eventually 20 test -e "$work/artifacts-daemon/pairs/first/run/03" || fail "what the second life saved was not drained"
  "$work/bundlewatch" verify "$work/artifacts-daemon" >"$work/verify.log" || fail "verify: $(cat "$work/verify.log")"
  echo "requeue: the epilog named epoch 01, the second life of job $id found it whole; $(grep -c '^ok' "$work/verify.log") bundles"
}

drain_packs() { find "$work/artifacts-slow/.staging" -name wts.h5.zip | says .; }

# A job that saves is cancelled. Its drain is killed in the middle; the next one names the last whole pair.
test_killed_drain() {
  local id dir=$work/jobs/second pid
  rm -rf "$work/jobs/first"
  write_epilog "$work/slow.toml"
  id=$(submit second)
  eventually 30 test -e "$dir/saving" || fail "the job does not save: $(squeue)"
  scancel "$id"
  eventually 30 drain_packs || fail "the drain does not begin"
  pid=$(pgrep --full "^$work/bundlewatch drain --hook --job $id ") || fail "there is no drain of job $id"
  kill -KILL "$pid"
  eventually 30 has_ended "$id" || fail "the epilog does not end: $(cat "$work/epilogs")"
  [ ! -e "$dir/.bundlewatch-resume-$id" ] || fail "a drain that was killed named $(cat "$dir/.bundlewatch-resume-$id")"
  ! find "$work/artifacts-slow/pairs" -name "0[0-9]" 2>/dev/null | says . || fail "a drain that was killed left a bundle"
  node_is_well
  sed '/read_rate/d' "$work/slow.toml" >"$work/again.toml"
  local status=0
  SLURM_JOB_ID=$id SLURM_JOB_WORK_DIR=$dir "$work/bundlewatch" drain --job "$id" --config "$work/again.toml" >"$work/again.log" || status=$?
  [ "$status" = 3 ] || fail "the second drain ended with $status"
  says '^left +pairs second/run/02 \(refused\): diffraction_to_obj: ' <"$work/again.log" || fail "the pair that was being saved: $(cat "$work/again.log")"
  [ "$(tail -n 1 "$work/again.log" | cut -d ' ' -f 1-5)" = "safe to resume from: $dir/run/checkpoints/autoencoder-epoch=01.ckpt" ] ||
    fail "the second drain: $(cat "$work/again.log")"
  "$work/bundlewatch" verify "$work/artifacts-slow" >"$work/verify.log" || fail "verify: $(cat "$work/verify.log")"
  [ -z "$(find "$work/artifacts-slow/.staging" -mindepth 1)" ] || fail "left in .staging"
  echo "killed drain: no half of a bundle; drained again, it named epoch 01"
}

[ "$(id -u)" = 0 ] || skip "needs root"
work=$(mktemp -d "${TMPDIR:-/tmp}/bundlewatch-slurm.XXXXXX")
chmod 755 "$work"
trap clean_up EXIT
install_slurm
if [ -n "${BUNDLEWATCH_BIN:-}" ]; then
  cp "$BUNDLEWATCH_BIN" "$work/bundlewatch"
else
  (cd "$repo" && CGO_ENABLED=0 go build -trimpath -o "$work/bundlewatch" ./cmd/bundlewatch)
fi
cp "$repo/test/slurm/trainer.sh" "$work/"
mkdir "$work/whole" "$work/jobs"
cp "$repo"/examples/runs/pairs/run_20251017_104700/checkpoints/*-epoch=00.ckpt "$work/whole/"
chmod -R a+rX "$work/whole" "$work/trainer.sh"
write_config daemon >"$work/daemon.toml"
write_config slow '[limits]\nworkers = 1\nread_rate = "8KiB"' >"$work/slow.toml"
: >"$work/epilogs"
write_epilog "$work/daemon.toml"
start_slurm
test_requeue
test_killed_drain
