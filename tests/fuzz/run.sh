#!/usr/bin/env bash
# Fuzzes each target for $1 seconds. What is found stays in tests/fuzz/artifacts, what was learnt in
# tests/fuzz/corpus.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

seconds=${1:?usage: run.sh <seconds>}
version=0.13.2
tools=${PORTCULLIS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/portcullis}/cargo-fuzz-$version
if [[ ! -x $tools/bin/cargo-fuzz ]]; then
  echo '==> cargo-fuzz is built, once'
  cargo install cargo-fuzz --version "$version" --locked --root "$tools"
fi
PATH=$tools/bin:$PATH

# The address sanitizer needs a nightly compiler. Portcullis has no unsafe code, so that without one not
# much is lost; the coverage that leads the fuzzer needs only to be allowed.
fuzz=(cargo fuzz run)
with=(--sanitizer none)
if cargo +nightly --version >/dev/null 2>&1; then
  fuzz=(cargo +nightly fuzz run)
  with=()
else
  export RUSTC_BOOTSTRAP=1
fi

for target in reference item openssh audit rule; do
  echo "==> $target for $seconds s"
  folders=("corpus/$target")
  if [[ -d seeds/$target ]]; then folders+=("seeds/$target"); fi
  mkdir -p "corpus/$target"
  "${fuzz[@]}" --fuzz-dir . "${with[@]}" "$target" "${folders[@]}" -- \
    -max_total_time="$seconds" -max_len=4096 -timeout=10 -verbosity=0 -print_final_stats=1
done
