# Sourced by the suites that need Python packages: an environment of their own, kept between runs below the user's cache.
#
#   venv_python NAME MODULES PACKAGE...   prints a Python that imports MODULES, of the environment NAME with the PACKAGEs;
#                                         fails when pip cannot install them, and leaves what it said in
#                                         $(venv_log NAME)
#
# An environment is made anew when other packages are asked for. Remove its directory to get newer ones.

venv_cache=${XDG_CACHE_HOME:-$HOME/.cache}/bundlewatch

venv_log() { echo "$venv_cache/$1/pip.log"; }

imports() { # imports PYTHON MODULE...: can that Python import them all?
  local python=$1 module
  shift
  [ -x "$python" ] || return 1
  for module; do "$python" -c "import $module" 2>/dev/null || return 1; done
}

venv_python() {
  local name=$1 modules=$2 version venv log
  shift 2
  version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || return 1
  venv=$venv_cache/$name/python$version
  log=$(venv_log "$name")
  # shellcheck disable=SC2086
  if [ "$(cat "$venv/complete" 2>/dev/null)" != "$*" ] || ! imports "$venv/bin/python" $modules; then
    mkdir -p "$venv_cache/$name"
    python3 -m venv --clear "$venv" >"$log" 2>&1 || return 1
    "$venv/bin/python" -m pip install --quiet "$@" >>"$log" 2>&1 || return 1
    echo "$*" >"$venv/complete"
  fi
  echo "$venv/bin/python"
}
