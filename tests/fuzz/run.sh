#!/usr/bin/env bash
# Runs every fuzz target of BUILD_DIR for SECONDS each, on what earlier runs found (BUILD_DIR/corpus) and on the tests' own files.
set -euo pipefail
build=${1:?BUILD_DIR} seconds=${2:-10}
root=$(cd "$(dirname "$0")/../.." && pwd)
seeds() {  # the files that a target starts from
  case $1 in
    fuzz_safetensors) find "$root/tests/data/oracle" -name 'adapter_model.safetensors' -size -40k ;;
    fuzz_chat_template) find "$root/tests/fuzz/chat_templates" -name '*.jinja' ;;
    fuzz_adapter_config) find "$root/tests/data/oracle" -name '*config.json' ;;
    fuzz_openai_body) find "$root/tests/api" -name '*request*.json' ;;
  esac | head -40
}
for target in "$build"/tests/fuzz/fuzz_*; do
  [[ -x $target && -f $target ]] || continue
  name=$(basename "$target") corpus=$build/corpus/$(basename "$target")
  mkdir -p "$corpus"
  while IFS= read -r file; do cp -n "$file" "$corpus/$(sha1sum <"$file" | cut -c1-16)"; done < <(seeds "$name")
  echo "fuzz: $name for $seconds s"
  "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096 -print_final_stats=0 -verbosity=0 "$corpus"
done
