#!/bin/bash
# Every parser of files from outside under address and undefined behaviour sanitizers, guided by coverage: five minutes each
# (seconds with --short), one goal a parser. An input that is found lies in build/fuzz-parsers/tests/fuzz_NAME.crash.
#   ./run prove fuzz-parsers [--short] [NAME...]
set -euo pipefail
seconds=300
names=()
for word in "$@"; do
    case $word in
    --short) seconds=5 ;;
    *) names+=("$word") ;;
    esac
done
[ ${#names[@]} -gt 0 ] || names=(safetensors tokenizer hparams npy)
root=$PWD
build=$PWD/build/fuzz-parsers
targets=()
for name in "${names[@]}"; do
    [ -e "tests/fuzz/fuzz_$name.c" ] || { echo "fuzz-parsers: no such parser: $name" >&2; exit 64; }
    targets+=("fuzz_$name")
done
launcher=()
if command -v ccache >/dev/null; then launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache); fi
cmake -S . -B "$build" -G Ninja -DWHEN_ASAN=ON -DWHEN_UBSAN=ON -DWHEN_FUZZ=ON \
    "${launcher[@]}" >/dev/null
ninja -C "$build" --quiet "${targets[@]}"
cd "$build/tests"
worst=0
for name in "${names[@]}"; do
    seeds=("$root/tests/fuzz/seeds/$name"/*)
    rm -f "fuzz_$name.crash"
    found=0
    ./fuzz_"$name" -t $seconds -s "$RANDOM" "${seeds[@]}" || found=1
    if [ $found -eq 0 ]; then
        echo "goal fuzz.$name.findings_in_${seconds}s 0 0 met"
    else
        echo "goal fuzz.$name.findings_in_${seconds}s 1 0 short"
        worst=1
    fi
done
exit $worst
