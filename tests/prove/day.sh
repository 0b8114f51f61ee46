#!/bin/bash
# A day of 8 cameras on a simulated clock: ledger and truth agree at the end (tests/unit/test_day.c). --short: 24 minutes of it.
#   ./run prove day [--short]
set -euo pipefail
hours=24
case ${1:-} in
--short) hours=0.4 ;;
'') ;;
*) echo "usage: ./run prove day [--short]" >&2; exit 64 ;;
esac
ninja -C build --quiet test_day
time build/tests/test_day "$hours" 2>build/day.log || { grep -v ' info ' build/day.log | tail -20 >&2; exit 1; }
