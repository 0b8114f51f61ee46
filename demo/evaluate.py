"""The proof by the engine that ships: unseen rendered streets through H.264 and whenscan, answers against the truth.

    evaluate.py [--short] [--scenes 500] [--whenscan build/whenscan] [--model demo/model] [--workers 2] [--seed 950000]

Every scene is a 16 s camera of its own at 448 x 224 with events cut by its start and end. It is encoded (x264, crf 28) and asked for
all eight types and for all events: by file at 1, 2 and 4 frames a second, and as decoded frames at uneven times (gaps of 0.25
to 1 s). The control gives the frames of 2 fps with their times doubled: a model that reads time from the position ids must
then be wrong about true time. Prints a table, then a line a goal:  goal NAME VALUE BOUND met|short. Exit 1 when one is short.
An event's truth is what is between the first and the last frame; types with a part shorter than 0.75 s are not asked for.
"""
import argparse
import concurrent.futures
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

import render
import text
from score import Score, clipped

SECONDS, FILE_FPS, WIDTH, HEIGHT = 16, 4, 448, 224
MODES = ["1 fps", "2 fps", "4 fps", "uneven"]


def seconds_of(answer, side):
    """start or end of one answer of whenscan: mm:ss.ff, or seconds."""
    value = answer.get(f"{side}_time", answer.get(f"{side}_s"))
    if isinstance(value, str):
        minutes, rest = value.split(":")[-2:]
        return 60 * int(minutes) + float(rest)
    return float(value)


def ask(args, source, questions):
    """{question: [(start, end, description)]} from one run of whenscan."""
    command = [args.whenscan, "--model", args.model, *source, "--window", "64", "--threads", "1", "--quiet", "--json"]
    for q in questions:
        command += ["--question", q]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit {run.returncode}: {run.stderr.strip()[-500:]}")
    told = {q: [] for q in questions}
    for a in json.loads(run.stdout):
        if a.get("start_time", a.get("start_s")) is not None:
            told[a["question"]].append((seconds_of(a, "start"), seconds_of(a, "end"), a.get("description", "")))
    return told


def coded(scene, times, path):
    render.encode(scene.draw(times, WIDTH, HEIGHT), path, FILE_FPS, 28)


def one_scene(job):
    """All questions on one scene in each mode: [(mode, kind or 8, told, true)]."""
    args, number, modes = job
    seed = args.seed + number
    scene, rng = render.Scene(seed, SECONDS), np.random.default_rng(seed + 5)
    forms = [text.questions(k)[int(rng.integers(2))] for k in range(8)] + [text.LIST_ALL]
    table = [(e.kind, e.start, e.end) for e in scene.events]
    folder, out = tempfile.mkdtemp(prefix="evaluate-"), []
    path = lambda name: os.path.join(folder, name)
    try:
        regular = np.arange(SECONDS * FILE_FPS) / FILE_FPS
        coded(scene, regular, path("even.mp4"))
        for mode in modes:
            if mode == "uneven" or mode == "control":
                if mode == "uneven":
                    times = np.concatenate(([0.0], np.cumsum(rng.uniform(0.25, 1.0, 26))))
                    times = times[times < SECONDS][:26]
                    times = times[:len(times) // 2 * 2]
                    coded(scene, times, path("uneven.mp4"))
                    frames, pts = render.decode(path("uneven.mp4"), WIDTH, HEIGHT), times
                else:
                    frames, times = render.decode(path("even.mp4"), WIDTH, HEIGHT)[::2], regular[::2]
                    pts = times * 2
                np.save(path("frames.npy"), frames)
                np.save(path("pts.npy"), pts.astype(np.float64))
                source = ["--frames", path("frames.npy"), "--pts", path("pts.npy")]
            else:
                fps = int(mode.split()[0])
                times = np.arange(SECONDS * fps) / fps
                source = ["--video", path("even.mp4"), "--fps", str(fps)]
            inside, unclear = clipped(table, times[0], times[-1])
            kinds = [k for k in range(8) if k not in unclear] + ([] if unclear else [8])
            told = ask(args, source, [forms[k] for k in kinds])
            for k in kinds:
                true = [(s, e, render.DESCRIPTIONS[kind]) for kind, s, e in inside if k in (kind, 8)]
                out.append((mode, k, told[forms[k]], true))
    finally:
        shutil.rmtree(folder)
    return out


def goal(name, value, bound, good):
    print(f"goal {name} {value:.3f} {bound} {'met' if good else 'short'}")
    return good


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--short", action="store_true", help="a dozen scenes, under a minute")
    p.add_argument("--scenes", type=int, default=500)
    p.add_argument("--whenscan", default=os.path.join(here, "..", "build", "whenscan"))
    p.add_argument("--model", default=os.path.join(here, "model"))
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--seed", type=int, default=950_000)
    args = p.parse_args()
    if not os.access(args.whenscan, os.X_OK):
        sys.exit(f"no whenscan at {args.whenscan}: build the project first or name it with --whenscan")
    scenes = 12 if args.short else args.scenes
    begin = time.time()
    single, every = {m: Score() for m in MODES + ["control"]}, {m: Score() for m in MODES + ["control"]}
    windows = {m: 0 for m in MODES + ["control"]}
    # The control needs fewer: its effect is large.
    jobs = [(args, n, MODES + (["control"] if n % 4 == 0 else [])) for n in range(scenes)]
    kinds = [Score() for _ in range(8)]
    with concurrent.futures.ProcessPoolExecutor(args.workers) as pool:
        for done, results in enumerate(pool.map(one_scene, jobs)):
            for mode in {r[0] for r in results}:
                windows[mode] += 1
            for mode, kind, told, true in results:
                (every if kind == 8 else single)[mode].add(told, true)
                if kind < 8 and mode != "control":
                    kinds[kind].add(told, true)
            if done % 50 == 49:
                print(f"{done + 1} scenes, {time.time() - begin:.0f} s", file=sys.stderr)
    for mode in MODES + ["control"]:
        print(f"{mode:8} windows {windows[mode]} queries {single[mode].found[1] + single[mode].quiet[1]} {single[mode].row()}")
        print(f"   list all: queries {every[mode].found[1] + every[mode].quiet[1]} {every[mode].row()}")
    for k, s in enumerate(kinds):
        print(f"{render.TYPES[k]:10} {s.row()}")
    found = [sum(single[m].found[i] for m in MODES) for i in (0, 1)]
    quiet = [sum(single[m].quiet[i] for m in MODES) for i in (0, 1)]
    overlaps = [single[m].mean() for m in MODES]
    mean = float(np.mean([o for m in MODES for o in single[m].overlaps]))
    all_mean = float(np.mean([o for m in MODES for o in every[m].overlaps]))
    spread = max(overlaps) - min(overlaps)
    good = [goal("found_when_it_happens", found[0] / found[1], ">=0.99", found[0] >= 0.99 * found[1]),
            goal("not_found_when_not", quiet[0] / quiet[1], ">=0.99", quiet[0] >= 0.99 * quiet[1]),
            goal("mean_temporal_iou", mean, ">=0.85", mean >= 0.85),
            goal("iou_spread_over_rates", spread, "<=0.03", spread <= 0.03),
            goal("list_all_iou", all_mean, ">=0.75", all_mean >= 0.75),
            goal("control_ids_doubled_iou", single["control"].mean(), "<=0.40", single["control"].mean() <= 0.40)]
    print(f"{scenes} scenes in {time.time() - begin:.0f} s")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
