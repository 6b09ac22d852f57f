#!/usr/bin/env bash
# The Rust library's own tests, in the directory and with the profile of the build, so that its crates are not compiled again.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:$HOME/.cargo/bin
export CARGO_TARGET_DIR=${LORRY_CARGO_TARGET_DIR:-$PWD/build/cargo}
cargo test --release --locked --quiet --manifest-path rust/textkit/Cargo.toml
