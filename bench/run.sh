#!/bin/sh
# Runs every benchmark and prints the tables; see bench/main.go for what can be asked for.
#
#	bench/run.sh [-full] [-write] [-dir DIR] [-runs N] [-only PART]
#
# As root it installs the peers that are missing, where apt-get can. $BENCH_PYTHON, a python3 that has torch, writes the
# checkpoints; without it they are written by the repository's own writer.
set -eu
cd "$(dirname "$0")/.."
missing=
for pair in zip:zip 7z:p7zip-full rsync:rsync mkfs.xfs:xfsprogs inotifywait:inotify-tools; do
	command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"
done
if [ -n "$missing" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	# shellcheck disable=SC2086
	{ apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >/dev/null 2>&1 ||
		echo "could not install:$missing" >&2
fi
exec go run ./bench "$@"
