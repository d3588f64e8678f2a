# Sourced by what needs a program of others that `go install` builds: kept between runs below the user's cache, outside
# of this checkout and of its go.mod.
#
#   go_program VARIABLE PACKAGE@VERSION [SECONDS]
#       prints the path of the program: that which $VARIABLE names, of the PATH, of the cache, or built into it, in so
#       many seconds at most. Where it fails it prints why, in one line.

go_program() {
  local variable=$1 package=$2 seconds=${3:-600} name version cache log status=0
  name=$(basename "${package%@*}")
  version=${package##*@}
  cache=${XDG_CACHE_HOME:-$HOME/.cache}/bundlewatch-suites/$name-$version
  if [ -n "${!variable:-}" ]; then
    echo "${!variable}"
  elif [ -x "$cache/$name" ]; then
    echo "$cache/$name"
  elif command -v "$name"; then
    :
  else
    mkdir -p "$cache"
    log=$cache/build.log
    echo "building $name $version into $cache" >&2
    # What was compiled is kept, so that a build which took too long goes on the next time.
    (cd "$cache" && GOBIN=$cache timeout --kill-after=10 "$seconds" go install "$package") >"$log" 2>&1 </dev/null || status=$?
    if [ "$status" = 124 ]; then
      echo "$name was not built in $seconds s; the next run goes on where this one stopped"
      return 1
    elif [ "$status" != 0 ]; then
      echo "$name cannot be built: $(tail -n 1 "$log" | tr -cd '[:print:]')"
      return 1
    fi
    echo "$cache/$name"
  fi
}
