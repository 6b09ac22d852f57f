#!/usr/bin/env bash
# tools/build.sh PRESET TARGET...: configures the preset if that is due, builds the targets, says how long it took.
# JOBS=N limits the compilers that run at once.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1
shift
export PATH=$PATH:$HOME/.cargo/bin
seconds() { printf '%d.%d' $((($1) / 1000000)) $((($1) / 100000 % 10)); }

start=${EPOCHREALTIME/[.,]/}
if [[ ! -e build/$preset/build.ninja || CMakePresets.json -nt build/$preset/build.ninja ]]; then
  echo "== Configuring build/$preset"
  log=$(mktemp)
  if ! cmake --preset "$preset" >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log" "build/$preset/build.ninja"
    exit 1
  fi
  rm -f "$log"
fi
# A log gets a line of progress every so many seconds, and whatever is no line of progress.
every() {
  local line steps= told=$SECONDS
  while true; do
    if IFS= read -r -t 5 line; then
      if [[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]]; then
        steps="${BASH_REMATCH[1]} of ${BASH_REMATCH[2]}"
      elif [[ $line != "ninja: no work to do." && $line != "ninja: Entering"* ]]; then
        printf '%s\n' "$line"
      fi
    elif (($? <= 128)); then
      return
    fi
    if ((SECONDS - told >= $1)) && [[ -n $steps ]]; then
      echo "   $steps steps after $((SECONDS - began)) s"
      told=$SECONDS
    fi
  done
}

began=$SECONDS
first=
[[ -e build/$preset/.ninja_log ]] || first=" (the first time takes minutes: about 5 on two cores)"
echo "== Building $* in build/$preset$first"
build() { (cd "build/$preset" && ninja ${JOBS:+-j "$JOBS"} "$@"); }
if [[ -t 1 ]]; then
  build "$@"  # a terminal gets the lines of progress of ninja and cargo
else
  export CARGO_TERM_QUIET=true
  unset NINJA_STATUS  # of a form that is known
  build "$@" 2>&1 | every "${PROGRESS_SECONDS:-30}"
fi
echo "== Built in $(seconds $((${EPOCHREALTIME/[.,]/} - start))) s"
