#!/bin/bash
# What whend itself costs: commits against plain SQLite, publishing to 100 subscribers, asking an index of a million events.
#   ./run bench daemon [--short]
exec build/bench/daemon "$@"
