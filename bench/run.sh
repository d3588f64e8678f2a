#!/usr/bin/env bash
# Runs every benchmark and prints the tables; see bench/main.go for what can be asked for.
#
#	bench/run.sh [-full|-quick] [-write] [-dir DIR] [-runs N] [-only PART]
#
# As root it installs the peers that are missing, where apt-get can. $BENCH_PYTHON, a python3 that has torch, writes the
# checkpoints; without it they are written by the repository's own writer. For the part "stores" it builds the store and
# mc with `go install`, and installs the AWS command line, each once, below the user's cache; $BUNDLEWATCH_VERSITYGW,
# $BUNDLEWATCH_MC, $BUNDLEWATCH_AWS and $BUNDLEWATCH_RCLONE name others.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source test/goprogram.sh
source test/venv.sh

missing=
for pair in zip:zip 7z:p7zip-full rsync:rsync mkfs.xfs:xfsprogs inotifywait:inotify-tools rclone:rclone; do
	command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"
done
if [ -n "$missing" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	# shellcheck disable=SC2086
	{ apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >/dev/null 2>&1 ||
		echo "could not install:$missing" >&2
fi

only=$(sed -nE 's/.*-only[= ]([a-z]+).*/\1/p' <<<"$*")
if [ "${only:-stores}" = stores ]; then
	BUNDLEWATCH_VERSITYGW=$(go_program BUNDLEWATCH_VERSITYGW github.com/versity/versitygw/cmd/versitygw@v1.8.0) || { echo "$BUNDLEWATCH_VERSITYGW" >&2; BUNDLEWATCH_VERSITYGW=; }
	BUNDLEWATCH_MC=$(go_program BUNDLEWATCH_MC github.com/minio/mc@v0.0.0-20250313080218-cf909e1063a9) || { echo "$BUNDLEWATCH_MC" >&2; BUNDLEWATCH_MC=; }
	if [ -z "${BUNDLEWATCH_AWS:-}" ]; then
		python=$(venv_python stores awscli awscli) && BUNDLEWATCH_AWS=$(dirname "$python")/aws || BUNDLEWATCH_AWS=
	fi
	export BUNDLEWATCH_VERSITYGW BUNDLEWATCH_MC BUNDLEWATCH_AWS
fi
exec go run ./bench "$@"
