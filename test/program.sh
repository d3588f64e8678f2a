# Sourced by the suites that run the program.
#
#   program_in DIR   prints the path of the program to check: $BUNDLEWATCH_BIN, or one that is built from this checkout
#                    into DIR

program_in() {
  if [ -z "${BUNDLEWATCH_BIN:-}" ]; then
    (cd "$(dirname "${BASH_SOURCE[0]}")/.." && CGO_ENABLED=0 go build -trimpath -o "$1/bundlewatch" ./cmd/bundlewatch) || return 1
  fi
  echo "${BUNDLEWATCH_BIN:-$1/bundlewatch}"
}
