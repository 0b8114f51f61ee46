"""What the runners of other engines share: clocks, inputs, and the protocol of bench/engine.c.

Commands come a line at a time on stdin, each answer is one JSON object a line on stdout. Beside those
that are timed, `logits ID ...` and `see HEIGHT WIDTH` say what an engine computes, to be compared.
"""
import json
import os
import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from machine import ticks  # noqa: E402

PATCH, MERGE, FRAMES = 14, 2, 2  # pixels, patches, frames of a grid
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)

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


def frames(grids, height, width):
    """uint8 [2 grids, height, width, 3], the same for every engine (bench/engine.c too)."""
    x = np.arange(FRAMES * grids * height * width * 3, dtype=np.uint32) * np.uint32(2654435761)
    x = (x ^ x >> np.uint32(15)) * np.uint32(2246822519)
    return (x >> np.uint32(24)).astype(np.uint8).reshape(FRAMES * grids, height, width, 3)


def patches(pictures):
    """float32 [patches, 1176] as the model's own preprocessing lays them out: by grids, by 2 x 2
    patches that are merged, each as channel, frame, row, column."""
    count, height, width, _ = pictures.shape
    grids, rows, columns = count // FRAMES, height // PATCH, width // PATCH
    values = (pictures.astype(np.float32) / 255 - MEAN) / STD
    values = values.reshape(grids, FRAMES, rows // MERGE, MERGE, PATCH, columns // MERGE, MERGE,
                            PATCH, 3)
    return values.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7).reshape(grids * rows * columns, -1)


def seen(tokens):
    """What `see` answers, of an array [tokens, hidden]: enough of it to compare."""
    return {"values": np.asarray(tokens, np.float32)[:, :16].ravel().tolist()}
