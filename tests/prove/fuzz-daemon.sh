#!/bin/bash
# What comes from outside and is damaged: messages, whend.yaml, stretches of time, each for five minutes under the address and
# undefined behaviour sanitizers; then 100000 malformed messages to a live whend.
#   ./run prove fuzz-daemon [--short]     (ten seconds each, 30000 messages)
set -euo pipefail
seconds=300 messages=100000
case ${1:-} in
--short) seconds=10 messages=30000 ;;
'') ;;
*) echo "usage: ./run prove fuzz-daemon [--short]" >&2; exit 64 ;;
esac
build=build/fuzz
mkdir -p "$build"
launcher=()
if command -v ccache >/dev/null; then launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache); fi
cmake -S . -B "$build" -G Ninja -DWHEN_ASAN=ON -DWHEN_UBSAN=ON "${launcher[@]}" >"$build/configure.log"
ninja -C "$build" --quiet fuzz_config fuzz_wire fuzz_time_range
findings=0 seed=$RANDOM seeds=tests/fuzz/seeds
fuzz() { # NAME SEEDS...
    local name=$1
    shift
    echo "$name: $seconds s, -s $seed"
    if ! "$build/tests/fuzz_$name" -t "$seconds" -s "$seed" "$@" 2>"$build/$name.log"; then
        findings=$((findings + 1))
        tail -40 "$build/$name.log" >&2
    fi
}
fuzz config config/whend.yaml $seeds/whend.yaml
fuzz wire $seeds/{request,response}_*.bin $seeds/{event,heartbeat,progress}.bin $seeds/*_worker_*.bin
fuzz time_range $seeds/time_*
goal() { # NAME VALUE
    if [ "$2" -eq 0 ]; then echo "goal $1 $2 0 met"; else echo "goal $1 $2 0 short"; fi
}
goal fuzz_daemon_findings "$findings"
failed=0
WHEN_MALFORMED=$messages python3 tests/integration/daemon/test_operation.py --build build TestOperation.test_malformed_messages \
    2>"$build/malformed.log" || { failed=1; tail -30 "$build/malformed.log" >&2; }
echo "$messages malformed messages at a live whend"
goal fuzz_daemon_unanswered "$failed"
[ "$findings" -eq 0 ] && [ "$failed" -eq 0 ]
