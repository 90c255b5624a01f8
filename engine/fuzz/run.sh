#!/usr/bin/env bash
# Runs fuzz targets, each for some time, and stops at the first that finds something.
#
#   engine/fuzz/run.sh                       all of them, 600 s each
#   engine/fuzz/run.sh lane                  one
#   SECONDS_EACH=60 engine/fuzz/run.sh       shorter
#
#   payment   the bytes of a payment: what we take, a general reader takes as the same
#   head      the head of a request that pays, as the till reads it
#   lane      scripts of payments (sound, repeated, forged, damaged, late) and charges against a lane whose disk fails now and then
#
# Inputs that are worth keeping gather in engine/fuzz/corpus/TARGET, and one that fails is left in engine/fuzz/artifacts/TARGET:
# `engine/fuzz/run.sh TARGET FILE` runs it again. AddressSanitizer is on unless SANITIZE=none; it is an option of rustc that stable ones
# keep to themselves, hence RUSTC_BOOTSTRAP. Nothing else needs it.
set -euo pipefail
cd "$(dirname "$0")"

SECONDS_EACH=${SECONDS_EACH:-600}
SANITIZE=${SANITIZE:-address}
TRIPLE=$(rustc -vV | sed -n 's/^host: //p')

flags=(
    --cfg fuzzing
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
)
if [[ $SANITIZE != none ]]; then
    flags+=("-Zsanitizer=$SANITIZE")
    export RUSTC_BOOTSTRAP=1
fi
# With a target of its own the flags stay away from build scripts.
RUSTFLAGS="${flags[*]}" cargo build --release --target "$TRIPLE" --bins

fuzz() {
    local target=$1
    shift
    mkdir -p "corpus/$target" "artifacts/$target"
    "target/$TRIPLE/release/$target" -artifact_prefix="artifacts/$target/" "$@"
}

# Scripts for the lane are long from the start: what is worth seeing takes some steps.
campaign() {
    local target=$1 more=()
    [[ $target != lane ]] || more=(-len_control=0 -max_len=768)
    [[ ! -d seeds/$target ]] || more+=("seeds/$target")
    mkdir -p "corpus/$target"
    fuzz "$target" -max_total_time="$SECONDS_EACH" -print_final_stats=1 "corpus/$target" "${more[@]}"
}

case $# in
0) for target in payment head lane; do campaign "$target"; done ;;
1) campaign "$1" ;;
*) fuzz "$@" ;;
esac
