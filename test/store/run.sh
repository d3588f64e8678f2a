#!/usr/bin/env bash
# Publishes to a real S3 server on loopback: versitygw, in front of a temporary directory. Four daemons publish the
# same bundles while they and the server are killed at random. Skips, with a line that says why, where the server is not
# there and cannot be built.
#
#   --all   200 bundles, with MinIO as well, with Ceph's gateway where it is in the PATH (apt-get install radosgw ceph-mon
#           ceph-osd), and with Garage, which must be refused, where that is
#
# $BUNDLEWATCH_VERSITYGW, $BUNDLEWATCH_MINIO, $BUNDLEWATCH_RADOSGW and $BUNDLEWATCH_GARAGE name the programs; without them
# versitygw and MinIO are built once, below the user's cache, which takes one to four minutes each.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source test/goprogram.sh

seconds=150 all=no
for arg in "$@"; do
  case $arg in
    --all) all=yes seconds=900 ;;
    *) echo "unknown argument $arg" >&2; exit 64 ;;
  esac
done

skipped() { echo "SKIP: stores on a real server: $*"; }

if ! gateway=$(go_program BUNDLEWATCH_VERSITYGW github.com/versity/versitygw/cmd/versitygw@v1.8.0 "$seconds"); then
  skipped "$gateway"
  exit 0
fi
export BUNDLEWATCH_VERSITYGW=$gateway BUNDLEWATCH_SLOW=1
if [ "$all" = yes ]; then
  export BUNDLEWATCH_STORE_BUNDLES=${BUNDLEWATCH_STORE_BUNDLES:-200}
  if minio=$(go_program BUNDLEWATCH_MINIO github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c "$seconds"); then
    export BUNDLEWATCH_MINIO=$minio
  else
    skipped "$minio"
  fi
  export BUNDLEWATCH_RADOSGW=${BUNDLEWATCH_RADOSGW:-$(command -v radosgw || true)}
  [ -n "$BUNDLEWATCH_RADOSGW" ] || skipped "Ceph's gateway is not there: apt-get install radosgw ceph-mon ceph-osd"
  export BUNDLEWATCH_GARAGE=${BUNDLEWATCH_GARAGE:-$(command -v garage || true)}
  [ -n "$BUNDLEWATCH_GARAGE" ] || skipped "Garage is not there: cargo install garage --version 2.5.0 --locked, and name it in \$BUNDLEWATCH_GARAGE"
fi
go test -count=1 -timeout 30m ./test/store
