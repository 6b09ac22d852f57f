#!/usr/bin/env bash
# Fails, with the list, if a C++ file is not as clang-format-19 writes it.
set -euo pipefail
cd "$(dirname "$0")/.."
git ls-files -co --exclude-standard 'src/*.cc' 'src/*.h' 'src/*.inc' 'tests/*.cc' 'tests/*.h' |
  xargs clang-format-19 --style=file --dry-run --Werror --ferror-limit=1
echo "format: every file is as clang-format writes it"
