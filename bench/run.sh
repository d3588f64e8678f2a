#!/bin/sh
# Compares `bundlewatch once` with cp and with Python's zipfile on two checkpoints of 256 MiB each:
# bare state_dicts, of which everything travels, and Lightning checkpoints, of which a third does.
# Every command ends with its bytes on the disk. Prints a Markdown table: medians of $RUNS runs.
#
#	bench/run.sh [DIR]    where to work, $TMPDIR or /tmp by default; takes about 2 GiB there
set -eu
cd "$(dirname "$0")/.."
RUNS=${RUNS:-5}
work=$(mktemp -d "${1:-${TMPDIR:-/tmp}}/bundlewatch-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$work/bundlewatch" ./cmd/bundlewatch
go run ./bench/checkpoints "$work"
for kind in bare lightning; do
	cat >"$work/$kind.toml" <<-END
		[artifacts]
		dir = "artifacts"
		[[watch]]
		name = "$kind"
		root = "$kind"
		settle = "10ms"
		[watch.members]
		a = "{run...}/a-{epoch}.ckpt"
		b = "{run...}/b-{epoch}.ckpt"
	END
done
cat >"$work/zip.py" <<'END'
import os, sys, zipfile
method = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED}[sys.argv[1]]
with open(sys.argv[2], "wb") as f:
    with zipfile.ZipFile(f, "w", method) as z:
        for path in sys.argv[3:]:
            z.write(path, os.path.basename(path))
    f.flush()
    os.fsync(f.fileno())
END

copy() { mkdir "$work/out" && cp "$1"/r1/* "$work/out" && sync "$work"/out/*; }
bundle() { "$work/bundlewatch" once --config "$1.toml" >/dev/null; }
pythonzip() { python3 "$work/zip.py" "$1" "$work/out" "$2"/r1/*; }

# median COMMAND...: seconds, with the sources in the page cache and nothing left to be written before.
median() {
	i=0
	while [ "$i" -lt "$RUNS" ]; do
		rm -rf "$work/out" "$work/artifacts"
		cat "$work"/*/r1/* >/dev/null
		sync
		begin=$(date +%s%N)
		"$@"
		end=$(date +%s%N)
		echo $(((end - begin) / 1000000))
		i=$((i + 1))
	done | sort -n | awk '{ t[NR] = $1 } END { printf "%.2f", t[int((NR + 1) / 2)] / 1000 }'
}

row() { # NAME SECONDS BASE
	awk -v name="$1" -v s="$2" -v base="$3" 'BEGIN { printf "| %s | %.2f s | %.2f |\n", name, s, s / base }'
}

echo "$(awk -F': *' '/^model name/ { print $2; exit }' /proc/cpuinfo), $(nproc) cores, Linux $(uname -r)," \
	"$(df --output=fstype "$work" | tail -n 1), $(go version | cut -d' ' -f3)"
cd "$work"
for kind in bare lightning; do
	case $kind in
	bare) what="2 x 256 MiB, bare state_dicts" ;;
	lightning) what="2 x 256 MiB, Lightning checkpoints" ;;
	esac
	base=$(median copy $kind)
	printf '\n| %s | median of %s | cp = 1 |\n|---|---:|---:|\n' "$what" "$RUNS"
	row 'cp, sync' "$base" "$base"
	row 'bundlewatch once' "$(median bundle $kind)" "$base"
	if command -v python3 >/dev/null; then
		row 'Python zipfile, stored' "$(median pythonzip stored $kind)" "$base"
		row 'Python zipfile, deflated (one run)' "$(RUNS=1 median pythonzip deflated $kind)" "$base"
	fi
done
