"""What the runners of other engines share: clocks, and the protocol of bench/engine.c.

Commands come a line at a time on stdin, each answer is one JSON object a line on stdout.
"""
import json
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from machine import ticks  # noqa: E402

# What the engines print themselves must not come between the answers.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def say(values):
    print(json.dumps(values), file=answers, flush=True)


def timed(work, *arguments):
    steal, total = ticks()
    cpu, begin = time.process_time(), time.monotonic()
    result = work(*arguments)
    seconds, cpu = time.monotonic() - begin, time.process_time() - cpu
    steal_end, total_end = ticks()
    return {"seconds": seconds, "cpu_s": cpu,
            "steal": (steal_end - steal) / max(1, total_end - total)}, result


def serve(commands):
    """commands: name -> function of the numbers behind it, giving a dict with "seconds" ... or None
    when this engine has no such thing."""
    say({"ready": True})
    for line in sys.stdin:
        name, *numbers = line.split()
        if name == "quit":
            return
        result = commands[name](*map(int, numbers)) if name in commands else None
        say(result or {"unsupported": True})


def ids(count, seed=1):
    """Token ids below 1000, the same for every engine."""
    result, x = [], seed
    for _ in range(count):
        x = (x * 1664525 + 1013904223) % (1 << 32)
        result.append(x // 4294968 % 1000)
    return result
