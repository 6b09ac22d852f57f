#!/usr/bin/env bash
# Writes the demo's table, as a real run shows it, into README.md between its two markers. LORRY: the binary to run.
set -euo pipefail
cd "$(dirname "$0")/.."
lorry=${LORRY:-build/release/lorry}
shown=$(mktemp)
made=$(mktemp)
trap 'rm -f "$shown" "$made"' EXIT

"$lorry" serve --port 0 --log-level warning --demo-table >"$shown" &
server=$!
for _ in $(seq 300); do
  grep -q '^Ctrl-C' "$shown" && break
  kill -0 "$server"
  sleep 0.1
done
kill -TERM "$server"
wait "$server"

{
  sed -n '1,/<!-- demo table -->/p' README.md
  echo '```'
  sed -n '/^task /,/requests at once/p' "$shown" | sed '$s/, [0-9.]* s$//'
  echo '```'
  sed -n '/<!-- end of demo table -->/,$p' README.md
} >"$made"
cp "$made" README.md
