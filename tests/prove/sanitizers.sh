#!/bin/bash
# All tests once more with address and undefined behaviour sanitizers, then those of what runs threads with the thread sanitizer.
# A goal line for each; what was found is printed, and lies in build/sanitizers/KIND/Testing/Temporary/LastTest.log.
#   ./run prove sanitizers [--short] [address|thread]...      --short: of address, only unit tests and golden vectors
# Two tests that limit the address space skip themselves (a sanitized program needs more than they allow), and
# memory.silent_client is left out: it bounds the memory of whend, and freed blocks are kept back here. What libraries keep until
# the end is named in tests/prove/leaks.txt, what libzmq hands over between threads in races.txt. GStreamer's threads take locks that the thread sanitizer cannot see: the camera worker
# is not among its tests; whend itself has one thread.
set -euo pipefail
short=0
kinds=()
for word in "$@"; do
    case $word in
    --short) short=1 ;;
    address | thread) kinds+=("$word") ;;
    *) echo "sanitizers: no such word: $word" >&2; exit 64 ;;
    esac
done
[ ${#kinds[@]} -gt 0 ] || kinds=(address thread)
launcher=()
if command -v ccache >/dev/null; then launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache); fi
export LSAN_OPTIONS=suppressions=$PWD/tests/prove/leaks.txt:print_suppressions=0
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=suppressions=$PWD/tests/prove/races.txt

threaded=(pool gemm gemm_amx attention attention_amx engine engine_amx locate packed_cache analyst when)
worst=0
for kind in "${kinds[@]}"; do
    build=$PWD/build/sanitizers/$kind
    options=(-DWHEN_ASAN=ON -DWHEN_UBSAN=ON)
    targets=()
    tests=(-E '^memory\.silent_client$')
    if [ "$kind" = thread ]; then
        options=(-DWHEN_TSAN=ON)
        targets=("${threaded[@]/#/test_}")
        tests=(-R "^unit\.($(IFS='|'; echo "${threaded[*]}"))(\.|$)")
    elif [ $short = 1 ]; then
        tests=(-R '^(unit|golden)\.')
    fi
    cmake -S . -B "$build" -G Ninja "${options[@]}" "${launcher[@]}" >/dev/null
    ninja -C "$build" --quiet "${targets[@]}"
    # As in ./run test, what fails on a busy machine is run once more.
    ctest --test-dir "$build" --output-on-failure --timeout 600 --repeat until-pass:2 -j2 "${tests[@]}" >"$build/tests.log" 2>&1 || true
    sed -n '/tests passed/,$p' "$build/tests.log"
    failed=$(sed -n 's/.*tests passed, \([0-9]*\) tests\? failed out of.*/\1/p' "$build/tests.log")
    # Also in what tests wrote that passed.
    log=$build/Testing/Temporary/LastTest.log
    finding='ERROR: (Address|Leak)Sanitizer|runtime error:|WARNING: ThreadSanitizer'
    found=$(grep -c -E "$finding" "$log" || true)
    grep -E -A 12 "$finding" "$log" | head -60 || true
    bad=$((failed + found))
    if [ $bad -eq 0 ]; then
        echo "goal sanitizers.$kind.findings 0 0 met"
    else
        echo "goal sanitizers.$kind.findings $bad 0 short"
        worst=1
    fi
done
exit $worst
