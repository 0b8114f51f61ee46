"""What each precision costs: next-token distributions against f32, and the demo model's answers.

    ./run bench accuracy [--short] [--scenes 24] [--golden DIR] [--model demo/model]

Golden prompts: every position of every prompt of a golden set (--golden, else ../shared/golden when it is there, else the committed
one); their weights are random, so a distribution is nearly flat and its largest logit easily another one. Demo model: unseen rendered
scenes at 2 frames a second and at uneven times; each mode is told the tokens that f32 answers, and its distributions behind each of
them are compared; then whenscan --dtype answers by itself, and its intervals are compared with the truth. KL is D(f32 || mode) in nats.
Prints tables for docs/accuracy.md, then goal lines. Exit 1 when a goal is short.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "demo"))
import evaluate  # noqa: E402
import render  # noqa: E402
import text  # noqa: E402
from score import Score, clipped  # noqa: E402

MODES = ["f32", "bf16", "int8", "int4"]
FIRST_SEED, WIDTH, HEIGHT = 970_000, 448, 224


def compare(*words):
    """{mode: {positions, same, kl, kl_worst}} of one run of the C program."""
    run = subprocess.run([os.path.join(ROOT, "build", "bench", "accuracy"), *words], capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(run.stderr.strip()[-500:])
    return json.loads(run.stdout)


def table(title, what, found):
    """found: [{mode: ...}] of several runs, added up."""
    print(f"\n{title}\n\n| mode | {what} | same largest | mean KL | worst KL |\n|---|---|---|---|---|")
    share = {}
    for mode in MODES[1:]:
        n = sum(f[mode]["positions"] for f in found)
        same = sum(f[mode]["same"] for f in found)
        kl = sum(f[mode]["kl"] for f in found)
        worst = max(f[mode]["kl_worst"] for f in found)
        share[mode] = same / n
        print(f"| {mode} | {n} | {100 * same / n:.2f} % | {kl / n:.2e} | {worst:.2e} |")
    return share


def golden(folder):
    found = []
    for name in sorted(os.listdir(os.path.join(folder, "07_llm"))):
        prompts = os.path.join(folder, "07_llm", name)
        cases = [os.path.join(prompts, case) for case in sorted(os.listdir(prompts))]
        cases = [c for c in cases if os.path.exists(os.path.join(c, "inputs_embeds_f32.npy"))]
        if cases:
            found.append(compare(os.path.join(folder, "00_checkpoints", name), "golden", *cases))
    table("Golden prompts (random weights):", "positions", found)


def scenes(count, folder):
    """(scene, times, [source of whenscan], questions by kind) of rendered scenes; every second one at uneven times."""
    for number in range(count):
        seed = FIRST_SEED + number
        scene, rng = render.Scene(seed, evaluate.SECONDS), np.random.default_rng(seed + 5)
        times = np.arange(2 * evaluate.SECONDS) / 2
        if number % 2:
            times = np.concatenate(([0.0], np.cumsum(rng.uniform(0.25, 1.0, 26))))
            times = times[times < evaluate.SECONDS]
            times = times[:len(times) // 2 * 2]
        frames, pts = (os.path.join(folder, f"{kind}{number}.npy") for kind in ("frames", "pts"))
        np.save(frames, scene.draw(times, WIDTH, HEIGHT))
        np.save(pts, times.astype(np.float64))
        yield scene, times, frames, pts, [text.questions(k)[int(rng.integers(2))] for k in range(8)]


def demo(args):
    scores, words, asked = {mode: Score() for mode in MODES}, [], []
    with tempfile.TemporaryDirectory(prefix="accuracy-") as folder:
        for scene, times, frames, pts, questions in scenes(args.scenes, folder):
            inside, unclear = clipped([(e.kind, e.start, e.end) for e in scene.events], times[0], times[-1])
            kinds = [k for k in range(8) if k not in unclear]
            for k in [k for k in kinds if any(k == kind for kind, _, _ in inside)][:2] + kinds[:1]:
                words += [frames, pts, questions[k]]
            asked.append((frames, pts, kinds, [questions[k] for k in kinds], inside))
        share = table("Demo model, tokens of the answers that f32 gives:", "tokens", [compare(args.model, "windows", *words)])
        sys.stdout.flush()
        for number, (frames, pts, kinds, questions, inside) in enumerate(asked):
            for mode in MODES:
                told = evaluate.ask(args, ["--frames", frames, "--pts", pts, "--dtype", mode], questions)
                for k, question in zip(kinds, questions):
                    true = [(s, e, render.DESCRIPTIONS[kind]) for kind, s, e in inside if k == kind]
                    scores[mode].add(told[question], true)
            print(f"scene {number + 1} of {args.scenes}", file=sys.stderr)
    print("\nDemo model, answers of whenscan --dtype against the truth:\n\n| mode | mean temporal IoU and more |\n|---|---|")
    for mode in MODES:
        print(f"| {mode} | {scores[mode].row()} |")
    return share


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--short", action="store_true", help="four scenes")
    p.add_argument("--scenes", type=int, default=24)
    shared = os.path.join(ROOT, "..", "shared", "golden")
    p.add_argument("--golden", default=shared if os.path.isdir(shared) else os.path.join(ROOT, "tests", "golden", "data"))
    p.add_argument("--model", default=os.path.join(ROOT, "demo", "model"))
    args = p.parse_args()
    args.scenes = 4 if args.short else args.scenes
    args.whenscan = os.path.join(ROOT, "build", "whenscan")
    golden(args.golden)
    share = demo(args)
    met = share["int8"] >= 0.99
    print(f"\ngoal int8_top1_demo {share['int8']:.4f} >=0.99 {'met' if met else 'short'}")
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
