#!/usr/bin/env bash
# Pushes and pulls bundles with a real registry, Docker's distribution, and with other people's clients: ORAS for Python
# and model_signing. Client and registry are killed in the middle, and two hosts race for one tag.
#
#   REGISTRY         the registry program; by default docker-registry of Debian, which is fetched and not installed.
#                    Or: go install github.com/distribution/distribution/v3/cmd/registry@v3.1.2 (four minutes)
#   BUNDLEWATCH_BIN  the binary to check; built from this checkout when unset
#
# Everything listens on the loopback interface. What cannot be had is skipped with one line.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
. "$repo/test/venv.sh"
cd "$repo"

fetch_debian() { # prints the path of docker-registry, without its service
  local dir=$venv_cache/registry log=$venv_cache/registry/apt.log
  if [ ! -x "$dir/usr/bin/docker-registry" ]; then
    command -v apt-get >/dev/null && command -v dpkg >/dev/null || return 1
    mkdir -p "$dir/download"
    # _apt has to be able to enter the directory; root may do without it.
    { cd "$dir/download" && { apt-get download docker-registry || { apt-get update && apt-get download docker-registry; }; } &&
      dpkg -x docker-registry_*.deb "$dir"; } >"$log" 2>&1 || return 1
    rm -rf "$dir/download"
  fi
  echo "$dir/usr/bin/docker-registry"
}

registry=${REGISTRY:-$(command -v docker-registry || fetch_debian || true)}
if [ -z "$registry" ]; then
  echo "SKIP: a real registry: docker-registry of Debian cannot be had here; name another with REGISTRY"
  exit 0
fi
if python=$(venv_python registry "oras.client model_signing.verifying OpenSSL" oras==0.2.43 model-signing==1.1.1 pyOpenSSL); then
  export BUNDLEWATCH_PYTHON=$python
else
  echo "SKIP: ORAS for Python and model_signing: pip could not install them, see $(venv_log registry)"
fi
BUNDLEWATCH_SLOW=1 BUNDLEWATCH_REGISTRY=$registry go test -count=1 -timeout 3m "$@" ./test/registry
