"""whenscan over whole rendered cameras: do its answers fit the truth?

    scan_iou.py --whenscan build/whenscan --model DIR [--name NAME] [--bound 0.75] VIDEO TRUTH.json [VIDEO TRUTH.json]...

Asks each event type's question at 1, 2 and 4 frames a second over whole files that are longer than a window, so that cutting
and joining are measured too. Prints a table, then a line a goal:  goal NAME VALUE BOUND met|short.  Exit 1 when one is
short, or with --fail-below only when one is below that: on few events chance alone moves the mean by some hundredths. Temporal IoU is the mean over all true events, a missed one counts as 0.
"""
import argparse
import json
import subprocess
import sys
import time

RATES = (1, 2, 4)
QUESTIONS = {
    "a red car drives past": "When does a red car drive past?",
    "a blue car drives past": "When does a blue car drive past?",
    "a white car drives past": "When does a white car drive past?",
    "a yellow car drives past": "When does a yellow car drive past?",
    "a person walks by": "When does a person walk by?",
    "a dog runs past": "When does a dog run past?",
    "the lamp is on": "When is the lamp on?",
    "the door is open": "When is the door open?",
}


def iou(a, b):
    shared = min(a[1], b[1]) - max(a[0], b[0])
    whole = max(a[1], b[1]) - min(a[0], b[0])
    return shared / whole if shared > 0 and whole > 0 else 0.0


def pair(truths, answers):
    """IoU of each truth with the answer that is its own, 0 without one; and how many answers are nobody's."""
    candidates = sorted(((iou(t, a), i, k) for i, t in enumerate(truths) for k, a in enumerate(answers)), reverse=True)
    values, used = {}, set()
    for value, i, k in candidates:
        if value > 0 and i not in values and k not in used:
            values[i] = value
            used.add(k)
    return [values.get(i, 0.0) for i in range(len(truths))], len(answers) - len(used)


def scan(args, video, fps):
    """{question: [(start, end, start_error, end_error)]}"""
    command = [args.whenscan, "--model", args.model, "--video", video, "--fps", str(fps), "--json", "--quiet"]
    for question in QUESTIONS.values():
        command += ["--question", question]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(f"{' '.join(command)}\nexit code {run.returncode}: {run.stderr.strip()}")
    told = {question: [] for question in QUESTIONS.values()}
    last = -1.0
    for a in json.loads(run.stdout):
        minutes, seconds = a["start_time"].split(":")
        if abs(60 * int(minutes) + float(seconds) - a["start_s"]) > 0.006:
            sys.exit(f"start_time and start_s differ: {a}")
        if a["start_s"] < last or a["end_s"] < a["start_s"] or a["error_s"] <= 0:
            sys.exit(f"not in order, or without an error: {a}")
        last = a["start_s"]
        told[a["question"]].append((a["start_s"], a["end_s"], a["start_error_s"], a["end_error_s"]))
    return told


def inside(truth, answers):
    """How many of a found truth's boundaries lie within the error stated for them."""
    answer = max(answers, key=lambda a: iou(truth, a))
    return (abs(answer[0] - truth[0]) <= answer[2]) + (abs(answer[1] - truth[1]) <= answer[3])


def measure(args, fps):
    """All cameras at one rate: prints a line, returns the mean IoU."""
    values, spurious, good, begin = {d: [] for d in QUESTIONS}, 0, 0, time.monotonic()
    for video, truth_path in zip(args.files[::2], args.files[1::2]):
        with open(truth_path) as file:
            truth = json.load(file)
        told = scan(args, video, fps)
        for description, question in QUESTIONS.items():
            truths = [(t["start_seconds"], t["end_seconds"]) for t in truth if t["description"] == description]
            found, extra = pair(truths, told[question])
            values[description] += found
            spurious += extra
            good += sum(inside(t, told[question]) for t, value in zip(truths, found) if value > 0)
            if args.verbose:
                print(f"    {description}: truth {truths} told {[a[:2] for a in told[question]]}")
    flat = [value for list_ in values.values() for value in list_]
    mean = sum(flat) / len(flat)
    found = sum(value > 0 for value in flat)
    print(f"{fps:4}  {len(flat):6}  {len(flat) - found:6}  {spurious:8}  {mean:8.3f}  "
          f"{sum(v >= 0.5 for v in flat) / len(flat):5.3f}  {sum(v >= 0.7 for v in flat) / len(flat):5.3f}  "
          f"{100 * good / max(2 * found, 1):11.0f} %  {time.monotonic() - begin:6.1f}")
    if args.verbose:
        for description, list_ in values.items():
            print(f"    {description}: " + " ".join(f"{v:.2f}" for v in list_))
    return mean


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--whenscan", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--name", default="scan", help="what the goals are called")
    parser.add_argument("--bound", type=float, default=0.75)
    parser.add_argument("--fail-below", type=float, help="exit code 1 only below this (default: the bound)")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("files", nargs="+", help="VIDEO TRUTH.json, as often as there are cameras")
    args = parser.parse_args()
    if len(args.files) % 2:
        parser.error("each VIDEO needs its TRUTH.json")
    print(f"{'fps':>4}  events  missed  spurious  mean IoU   R@.5   R@.7  in their error       s")
    means = {fps: measure(args, fps) for fps in RATES}
    short = False
    for fps, mean in means.items():
        met = mean >= args.bound
        short = short or mean < (args.bound if args.fail_below is None else args.fail_below)
        print(f"goal {args.name}.mean_iou_{fps}fps {mean:.3f} {args.bound} {'met' if met else 'short'}")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
