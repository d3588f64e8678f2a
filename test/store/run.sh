#!/usr/bin/env bash
# Publishes to a real S3 server on loopback: versitygw, in front of a temporary directory. Four daemons publish the
# same bundles while they and the server are killed at random.
#
#   --if-there        skip where versitygw is not there, instead of building it, which takes minutes
#   --all             with 200 bundles, and Garage, which must be refused, where it is in the PATH
#   $BUNDLEWATCH_VERSITYGW   the program, in place of the one that is built into the cache
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

version=v1.8.0
cache=${XDG_CACHE_HOME:-$HOME/.cache}/bundlewatch-suites/versitygw-$version
if_there=no all=no
for arg in "$@"; do
  case $arg in
    --if-there) if_there=yes ;;
    --all) all=yes ;;
    *) echo "unknown argument $arg" >&2; exit 64 ;;
  esac
done

skip() {
  echo "SKIP: stores on a real server: $*"
  exit 0
}

gateway=${BUNDLEWATCH_VERSITYGW:-$(command -v versitygw || true)}
if [ -z "$gateway" ] && [ -x "$cache/versitygw" ]; then
  gateway=$cache/versitygw
fi
if [ -z "$gateway" ]; then
  [ "$if_there" = no ] || skip "versitygw is not there; make store builds it, in two to four minutes, and keeps it in $cache"
  echo "building versitygw $version into $cache"
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  GOBIN=$cache go install "github.com/versity/versitygw/cmd/versitygw@$version" >"$log" 2>&1 || skip "versitygw cannot be built: $(tail -n 1 "$log" | tr -cd '[:print:]')"
  gateway=$cache/versitygw
fi
export BUNDLEWATCH_VERSITYGW=$gateway BUNDLEWATCH_SLOW=1
if [ "$all" = yes ]; then
  export BUNDLEWATCH_STORE_BUNDLES=${BUNDLEWATCH_STORE_BUNDLES:-200}
  garage=${BUNDLEWATCH_GARAGE:-$(command -v garage || true)}
  [ -z "$garage" ] || export BUNDLEWATCH_GARAGE=$garage
fi
go test -count=1 -timeout 20m ./test/store
