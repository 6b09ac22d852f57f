#!/usr/bin/env bash
# Installs what is missing to build, test or check Lorry on Debian 12. Says what it does and how long that took.
#
#   tools/setup.sh build   compilers and libraries for the binary
#   tools/setup.sh test    the same, a Python environment in build/venv for the end-to-end tests, and an S3 server
#                          in build/s3s-fs for those of adapter sources
#   tools/setup.sh ci      the same, and clang 19 for the sanitizers and the formatter
#
# Asks the local package database first: with nothing missing it takes no network and no time.
set -euo pipefail
cd "$(dirname "$0")/.."
goal=${1:-build}

packages=(
  g++ cmake ninja-build pkg-config ccache
  libboost-json1.81-dev libfmt-dev libexpected-dev libtomlplusplus-dev
  prometheus-cpp-dev libpcre2-dev libxxhash-dev libssl-dev libarchive-dev zlib1g-dev
  libeigen3-dev libgtest-dev libgmock-dev
)
[[ $goal == build ]] || packages+=(python3 python3-venv)
[[ $goal != ci ]] || packages+=(clang-19 clang-format-19 libclang-rt-19-dev llvm-19 git)

# The minor version of cargo 1.x that works here, 0 for none. textkit's crates need 1.87.
cargo_minor() {
  local cargo=$1 version
  version=$("$cargo" --version 2>/dev/null) || { echo 0; return; }
  version=${version#cargo 1.}
  version=${version%%.*}
  [[ $version =~ ^[0-9]+$ ]] && echo "$version" || echo 0
}
has_cargo() {
  (($(cargo_minor cargo) >= 87)) || (($(cargo_minor "$HOME/.cargo/bin/cargo") >= 87))
}

# Runs a quiet command; shows its output only if it fails.
quietly() {
  local log
  log=$(mktemp)
  "$@" >"$log" 2>&1 || { cat "$log" >&2; rm -f "$log"; return 1; }
  rm -f "$log"
}

install_packages() {
  if ! command -v dpkg-query >/dev/null; then
    echo "set-up: not a Debian system; install what corresponds to: ${packages[*]} cargo>=1.87" >&2
    return
  fi
  has_cargo || packages+=(cargo-web rustc-web)
  local missing=() installed package
  installed=$(dpkg-query --show --showformat='${db:Status-Status} ${Package}\n' "${packages[@]}" 2>/dev/null || true)
  for package in "${packages[@]}"; do
    grep -qx "installed $package" <<<"$installed" || missing+=("$package")
  done
  ((${#missing[@]})) || return 0

  local as_root=()
  if ((EUID != 0)); then
    if sudo -n true 2>/dev/null; then
      as_root=(sudo)
    else
      echo "set-up: ${#missing[@]} Debian packages are missing. Run this line as root, then try again:" >&2
      echo "  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}" >&2
      exit 1
    fi
  fi
  local start=$SECONDS
  echo "== Installing ${#missing[@]} Debian packages: ${missing[*]}"
  quietly "${as_root[@]}" apt-get update -q
  quietly "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends "${missing[@]}"
  echo "== Installed in $((SECONDS - start)) s"
}

# The crates of textkit, so that building needs no network; a copy of Cargo.lock says which are here.
fetch_crates() {
  local lock=rust/textkit/Cargo.lock stamp=build/cargo/fetched.lock
  cmp -s "$lock" "$stamp" && return
  local start=$SECONDS cargo=cargo
  (($(cargo_minor cargo) >= 87)) || cargo=$HOME/.cargo/bin/cargo
  echo "== Downloading the Rust crates of textkit"
  mkdir -p build/cargo
  quietly "$cargo" fetch --locked --manifest-path rust/textkit/Cargo.toml
  cp "$lock" "$stamp"
  echo "== Downloaded in $((SECONDS - start)) s"
}

# build/venv holds what tools/test_requirements.txt pins; a copy of that file inside says what was installed.
install_venv() {
  local pins=tools/test_requirements.txt stamp=build/venv/installed.txt
  cmp -s "$pins" "$stamp" && return
  local start=$SECONDS
  echo "== Installing the Python packages of the end-to-end tests into build/venv"
  mkdir -p build
  /usr/bin/python3 -m venv --clear build/venv
  quietly build/venv/bin/pip install --disable-pip-version-check -r "$pins"
  cp "$pins" "$stamp"
  echo "== Installed in $((SECONDS - start)) s"
}

# An S3 server that checks signatures. Without it the tests of object stores say so and are skipped.
install_s3_server() {
  local version=0.14.1 root=build/s3s-fs
  [[ ! -x $root/bin/s3s-fs || $(cat "$root/version" 2>/dev/null) != "$version" ]] || return 0
  local start=$SECONDS cargo=cargo
  (($(cargo_minor cargo) >= 87)) || cargo=$HOME/.cargo/bin/cargo
  echo "== Building the S3 server of the tests (s3s-fs $version, about a minute and a half on 2 cores)"
  if quietly "$cargo" install s3s-fs --version "$version" --locked --features binary --root "$root" --force; then
    echo "$version" >"$root/version"
    echo "== Built in $((SECONDS - start)) s"
  else
    echo "set-up: no S3 server; the tests of object stores will be skipped" >&2
  fi
}

case $goal in
  build)
    install_packages
    fetch_crates
    ;;
  test | ci)
    install_packages
    fetch_crates
    install_venv
    install_s3_server
    ;;
  *)
    echo "usage: tools/setup.sh build|test|ci" >&2
    exit 2
    ;;
esac
