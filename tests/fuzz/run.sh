#!/usr/bin/env bash
# Runs every fuzz target of BUILD_DIR for SECONDS each, on what earlier runs found (BUILD_DIR/corpus) and on the tests' own files.
set -euo pipefail
build=${1:?BUILD_DIR} seconds=${2:-10}
root=$(cd "$(dirname "$0")/../.." && pwd)
# One adapter in each kind of archive.
archives() {
  local dir=$build/corpus/archives
  rm -rf "$dir"
  mkdir -p "$dir/a"
  echo '{"r": 8}' >"$dir/a/adapter_config.json"
  seq 30 >"$dir/a/adapter_model.safetensors"
  (
    cd "$dir"
    for format in ustar gnu pax; do
      tar --format="$format" -cf "$format.tar" a
      gzip --keep "$format.tar"
    done
    python3 -m zipfile -c deflated.zip a
  )
  find "$dir" -maxdepth 1 -type f
}
# Files of torch.save, and the pickles in them.
torch_files() {
  local dir=$build/corpus/torch_files
  rm -rf "$dir"
  mkdir -p "$dir"
  for file in "$root"/tests/data/torch/*.bin; do
    python3 -m zipfile -e "$file" "$dir" 2>/dev/null || true
  done
  find "$dir" -name data.pkl
  find "$root/tests/data/torch" -name '*.bin' -size -10k
}
seeds() {  # the files that a target starts from
  case $1 in
    fuzz_archive) archives ;;
    fuzz_torch_file) torch_files ;;
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
