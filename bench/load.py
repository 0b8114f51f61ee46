"""How long a model takes until it is ready: the first start, which packs, by one thread and by all; the second, which maps.

    ./run bench load [--model DIR] [--rounds 3] [--dtypes bf16,int8,int4]

The model is the slice of bench/slice.py unless another is named. Times are whenscan's from its start to its end with a prompt of one
word and no answer, its files being in the page cache. "no cache" is packing alone; the others keep the packed weights in a folder,
"first" makes them, written and synced to the disk, "second" maps and checks them. Rounds are interleaved; the median is told, with
the least and the most. A round with more than a tenth of the time stolen by the host is repeated.
"""
import argparse
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import machine
import slice as slice_model

ROOT = pathlib.Path(__file__).resolve().parent.parent
MOST_TRIES = 3


def once(args, dtype, threads, cache):
    """Seconds of wall clock and of CPU of one start; the share that the host took."""
    command = [ROOT / "build" / "whenscan", "--model", args.model, "--prompt", "x", "--max-tokens", "0", "--dtype", dtype,
               "--threads", str(threads), *(["--cache", cache] if cache else [])]
    steal, total = machine.ticks()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    wall = time.monotonic() - begin
    if run.returncode:
        sys.exit(run.stderr.strip()[-500:])
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    steal_now, total_now = machine.ticks()
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    return wall, cpu, (steal_now - steal) / max(1, total_now - total)


def measure(args, dtype, threads, cache, fresh):
    for _ in range(MOST_TRIES):
        if cache and fresh:
            shutil.rmtree(cache, ignore_errors=True)
        wall, cpu, stolen = once(args, dtype, threads, cache)
        if stolen <= machine.MOST_STEAL:
            break
    return wall, cpu


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", help="a model directory")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--dtypes", type=lambda words: words.split(","), default=["bf16", "int8", "int4"])
    args = p.parse_args()
    args.model = args.model or slice_model.make()
    print("\n".join(machine.facts()))
    threads = len(os.sched_getaffinity(0))
    weights = list(pathlib.Path(args.model).glob("*.safetensors"))
    print(f"model    {args.model}: {sum(w.stat().st_size for w in weights) / 1e9:.2f} GB\n")
    for w in weights:  # into the page cache
        with open(w, "rb") as file:
            while file.read(1 << 24):
                pass
    with tempfile.TemporaryDirectory(prefix="load-", dir=pathlib.Path(args.model).parent) as folder:
        cache = os.path.join(folder, "cache")
        kinds = {"no cache, 1 thread": (1, None, True), f"no cache, {threads} threads": (threads, None, True),
                 f"first, {threads} threads": (threads, cache, True), "second": (threads, cache, False)}
        print("| dtype | start | seconds | least .. most | CPU seconds |\n|---|---|---|---|---|")
        for dtype in args.dtypes:
            found = {kind: [] for kind in kinds}
            for _ in range(args.rounds):
                for kind, (n, where, fresh) in kinds.items():
                    found[kind].append(measure(args, dtype, n, where, fresh))
            for kind, runs in found.items():
                wall = sorted(r[0] for r in runs)
                cpu = statistics.median(r[1] for r in runs)
                print(f"| {dtype} | {kind} | {statistics.median(wall):.2f} | {wall[0]:.2f} .. {wall[-1]:.2f} | {cpu:.2f} |")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
