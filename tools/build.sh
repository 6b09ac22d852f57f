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
echo "== Building $* in build/$preset"
quiet=--quiet
[[ ! -t 1 ]] || quiet=  # a terminal gets the lines of progress of ninja and cargo
[[ -t 1 ]] || export CARGO_TERM_QUIET=true
(cd "build/$preset" && ninja ${JOBS:+-j "$JOBS"} $quiet "$@")
echo "== Built in $(seconds $((${EPOCHREALTIME/[.,]/} - start))) s"
