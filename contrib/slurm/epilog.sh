#!/bin/sh
# Epilog for Slurm (slurm.conf: Epilog=/etc/slurm/epilog.d/bundlewatch.sh). It runs on the node as root when every process
# of the job is gone, and before a requeued job starts: it bundles what the job left whole, and tells the next life of
# the job what is safe to resume from, in .bundlewatch-resume-<job id> in the job's work directory, written by the job's
# user in the format of sha256sum. The first line is what to load:
#
#   resume=.bundlewatch-resume-$SLURM_JOB_ID
#   if [ -s "$resume" ] && sha256sum --check --strict --status "$resume"; then
#     checkpoint=$(head -n 1 "$resume" | cut -c 67-)
#   fi
#
# An epilog that fails or takes longer than PrologEpilogTimeout takes the node out of service, so this one does
# neither: it ends well, after at most $limit seconds and the few below. See docs/drain.md.
#
#   BUNDLEWATCH         the program
#   BUNDLEWATCH_CONFIG  its configuration file; else the usual places
#   BUNDLEWATCH_DRAIN   seconds for the drain, by default 45; keep it 10 below PrologEpilogTimeout

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
bundlewatch=${BUNDLEWATCH:-bundlewatch}
limit=${BUNDLEWATCH_DRAIN:-45}

log() { logger --socket-errors=on --tag bundlewatch-epilog --id=$$ -- "job $SLURM_JOB_ID: $*" 2>/dev/null || echo "bundlewatch: job $SLURM_JOB_ID: $*" >&2; }

drain() { timeout --kill-after=1 "$((limit + 2))" "$bundlewatch" drain --hook --job "$SLURM_JOB_ID" --timeout "${limit}s" 2>&1 </dev/null; }

# sum_of PATTERN: PATH and digest at the end of such lines, as sha256sum writes them. A path in quotes has characters
# that no script should meet, and is left out.
sum_of() { printf '%s\n' "$answer" | sed -n 's|^'"$1"': \(/.*\) \([0-9a-f]\{64\}\)$|\2  \1|p'; }

# What to resume from, and then, when that is the first member of a set, the others.
sums() {
  first=$(sum_of 'safe to resume from')
  members=$(sum_of 'member    [^ ]*')
  case "$members" in
  "$first"*) printf '%s\n' "$members" ;;
  *) printf '%s\n' "$first" ;;
  esac
}

# shellcheck disable=SC2016 # the inner shell expands it
# tell: as the user, whose directory it is and who may have put links there; a file system may not answer.
tell() {
  timeout --kill-after=1 5 setpriv --reuid "$SLURM_JOB_UID" --regid "$(id -g "$SLURM_JOB_UID")" --init-groups \
    sh -c 'umask 077; cd "$1" && cat >"$2.new" && mv -f "$2.new" "$2"' - "$SLURM_JOB_WORK_DIR" ".bundlewatch-resume-$SLURM_JOB_ID"
}

[ -n "$SLURM_JOB_ID" ] || exit 0
answer=$(drain)
lines=$(sums)
if [ -n "$lines" ] && [ -n "$SLURM_JOB_UID" ] && [ -n "$SLURM_JOB_WORK_DIR" ]; then
  printf '%s\n' "$lines" | tell || log "cannot write to $SLURM_JOB_WORK_DIR"
fi
log "$(printf '%s\n' "$answer" | tail -n 1)"
exit 0
