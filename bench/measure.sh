#!/usr/bin/env bash
# Measures everything that the README's figures claim, on this machine, and writes bench/results/NAME.txt.
#
#   bench/measure.sh NAME [WORK_DIR]      NAME: the machine, as in zen5-2core
#
# Needs an idle machine, a built build/release/lorry and about 4 GB in WORK_DIR (default: build/bench) for the random models.
# Takes about ten minutes. Ratios count, not milliseconds: every figure stands beside the limit of the same run.
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:?the name of this machine} work=${2:-build/bench}
lorry=build/release/lorry
out=bench/results/$name.txt
mkdir -p bench/results
server=
trap '[[ -z $server ]] || kill "$server" 2>/dev/null' EXIT

title() { printf '\n== %s\n\n' "$*" | tee -a "$out"; }
run() {
  printf '$ %s\n\n' "${*/#$lorry/lorry}" | sed "s|$work|WORK|g" | tee -a "$out"
  "$@" 2>/dev/null | tee -a "$out"
}

# serve ARGS...: starts the server on a free port and waits until it is ready; sets `url`.
serve() {
  "$lorry" serve --port 0 "$@" 2>"$work/server.log" &
  server=$!
  for _ in $(seq 300); do
    url=$(grep -o 'ready on http://[^ ]*' "$work/server.log" | sed 's/ready on //') && [[ -n $url ]] && return
    sleep 0.1
  done
  cat "$work/server.log" >&2
  exit 1
}
stop() { kill "$server" && wait "$server" || true; server=; }

mkdir -p "$work"
printf '%s, %s\n' "$("$lorry" version | head -1)" "$(date -u +%F)" > "$out"
title "What the machine can do"
run "$lorry" bench limits

for shape in 135m 1.2b; do
  "$lorry" bench make-model --shape $shape --adapters 8 --rank 16 --output "$work/$shape" 2>/dev/null
  title "Steps, shape $shape: base, one adapter for all, eight distinct adapters"
  run "$lorry" bench step "$work/$shape/base" --adapter "$work/$shape/adapters"
done

for shape in 135m 1.2b; do
  title "Kernels, shape $shape"
  run "$lorry" bench kernels --shape $shape --rounds 7
done

title "Over HTTP, shape 135m: 64 tokens in, 64 out"
adapters=()
for dir in "$work"/135m/adapters/*; do adapters+=(--adapter "$(basename "$dir")=$dir"); done
serve --model "$work/135m/base" "${adapters[@]}"
for mix in base same distinct zipf; do
  run "$lorry" bench serve --url "$url" --streams 8 --requests 96 --mix $mix
done
printf '$ grep VmRSS /proc/SERVER/status\n\n' | tee -a "$out"
{ grep VmRSS "/proc/$server/status"; grep -A6 'memory in bytes' "$work/server.log"; } | tee -a "$out"
stop

title "First token of a lone request of 64 tokens on the idle demo"
serve
run "$lorry" bench serve --url "$url" --streams 1 --requests 60 --mix base --output-tokens 8
run "$lorry" bench serve --url "$url" --streams 1 --requests 60 --mix distinct --output-tokens 8
stop
echo
echo "written to $out"
