"""Greedy decoding in torch and the measures, to steer training. The proof by the real engine is evaluate.py.

    check.py MODEL [--windows 40] [--threads 1]
"""
import argparse
import itertools
import json
import time

import numpy as np
import torch

import batch
import text
from model import Cache, load
from render import DESCRIPTIONS, HEIGHT, WIDTH, training_clip
from tokenizer import Tokenizer


def iou(a, b):
    both = min(a[1], b[1]) - max(a[0], b[0])
    return max(0.0, both) / (max(a[1], b[1]) - min(a[0], b[0]))


def match(told, true):
    """Best total overlap, one to one: [(index told or None, overlap)] for each true event. Few events: try all."""
    if not true:
        return []
    table = np.array([[iou(t, e) for e in told] for t in true]).reshape(len(true), len(told))
    best = [(None, 0.0)] * len(true)
    if len(told) and len(true) <= 6 and len(told) <= 6:
        columns = list(range(len(told))) + [None] * len(true)
        score = -1.0
        for pick in set(itertools.permutations(columns, len(true))):
            total = sum(table[i, c] for i, c in enumerate(pick) if c is not None)
            if total > score:
                score, best = total, [(c, table[i, c] if c is not None else 0.0) for i, c in enumerate(pick)]
        return best
    while table.size and table.max() > 0:
        i, j = np.unravel_index(table.argmax(), table.shape)
        best[i] = (int(j), float(table[i, j]))
        table[i], table[:, j] = -1, -1
    return best


class Score:
    """Counts and measures over queries of one type (or of all events)."""

    def __init__(self):
        self.found = [0, 0]
        self.quiet = [0, 0]
        self.overlaps, self.start, self.end, self.spurious, self.bad = [], [], [], 0, 0

    def add(self, told, true):
        """told and true: [(start, end, description)]; told None when it was no valid answer."""
        if told is None:
            self.bad += 1
            told = []
        if true:
            self.found[0] += bool(told)
            self.found[1] += 1
        else:
            self.quiet[0] += not told
            self.quiet[1] += 1
        used = 0
        for name in {e[2] for e in true} | {e[2] for e in told}:
            a, b = [e for e in told if e[2] == name], [e for e in true if e[2] == name]
            pairs = match(a, b)
            for (j, value), e in zip(pairs, b):
                self.overlaps.append(value)
                if j is not None and value > 0:
                    used += 1
                    self.start.append(abs(a[j][0] - e[0]))
                    self.end.append(abs(a[j][1] - e[1]))
        self.spurious += len(told) - used

    def mean(self):
        return float(np.mean(self.overlaps)) if self.overlaps else 0.0

    def row(self):
        o = np.array(self.overlaps or [0.0])
        middle = lambda v: float(np.median(v)) if v else 0.0
        return (f"found {self.found[0]}/{self.found[1]} quiet {self.quiet[0]}/{self.quiet[1]} events {len(self.overlaps)} "
                f"IoU {o.mean():.3f} R@.5 {(o >= .5).mean():.3f} R@.7 {(o >= .7).mean():.3f} "
                f"start/end {middle(self.start):.2f}/{middle(self.end):.2f} s spurious {self.spurious} malformed {self.bad}")


@torch.no_grad()
def generate(model, writer, patches, positions, questions, limit=420):
    """patches [B, G, 32, 1176], positions [3, B, 8 G] of the video, questions: per row a list of id lists. Returns the texts in
    the same nesting."""
    rows, grids = patches.shape[:2]
    video = grids * batch.TOKENS
    tokens = model.visual(patches.flatten(0, 1), batch.ROWS, batch.COLUMNS).view(rows, video, -1)
    head = len(writer.prefix)
    embed = model.model.embed_tokens
    x = torch.cat((embed(torch.tensor(writer.prefix)).expand(rows, -1, -1), tokens), 1)
    where = torch.cat((torch.arange(head).expand(3, rows, -1), positions), 2)
    size = head + video
    longest = max(len(q) for qs in questions for q in qs)
    cache = Cache(size + longest + limit)
    cache.place = torch.arange(size).expand(rows, -1)
    causal = torch.ones(size, cache.capacity, dtype=torch.bool).tril()
    model.model(x, where, causal[None, None], cache)
    counts = torch.tensor([len(qs) for qs in questions])
    cache.repeat(counts)
    asked = [q for qs in questions for q in qs]
    resume = (positions.amax((0, 2)) + 1).repeat_interleave(counts)
    length = torch.tensor([len(q) for q in asked])
    ids = torch.tensor([q + [writer.pad] * (longest - len(q)) for q in asked])
    cache.place = size + torch.arange(longest).expand(len(asked), -1)
    slots = torch.arange(cache.capacity)
    sees = slots[None, None, :] <= (size + torch.arange(longest))[None, :, None]
    steps = (resume[:, None] + torch.arange(longest)).expand(3, -1, -1)
    states, _ = model.model(embed(ids), steps, sees[:, None], cache)
    now = model.logits(states[torch.arange(len(asked)), length - 1]).argmax(-1)
    out, alive = [[] for _ in asked], torch.ones(len(asked), dtype=torch.bool)
    for step in range(limit):
        for i in torch.nonzero(alive).flatten().tolist():
            if int(now[i]) == writer.end:
                alive[i] = False
            else:
                out[i].append(int(now[i]))
        if not alive.any():
            break
        at = size + length + step
        cache.place = at[:, None]
        sees = slots[None] <= at[:, None]
        states, _ = model.model(embed(now)[:, None], (resume + length + step)[None, :, None].expand(3, -1, -1),
                                sees[:, None, None], cache)
        now = model.logits(states[:, 0]).argmax(-1)
    texts = iter(writer.tokenizer.decode(o) for o in out)
    return [[next(texts) for _ in qs] for qs in questions]


MODES = {"4 fps": 1, "2 fps": 2, "1 fps": 4, "uneven": "uneven"}


def windows_of(clips, mode, count, seconds=16, seed=5):
    """Windows of unseen clips: (frames, times, events, unclear)."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        frames, times, events, _ = clips[i % len(clips)]
        n = 26 if mode == "uneven" else seconds * 4 // mode
        index = np.concatenate(([0], np.cumsum(batch.gaps_for(rng, mode, n))))
        index += rng.integers(0, len(times) - index[-1])
        when = times[index]
        yield np.asarray(frames[index], np.float32), when - when[0], *batch.clipped(events, when[0], when[-1])


def evaluate(model, writer, clips, mode, count, stretch=1.0, group=10):
    single, every = Score(), Score()
    todo = list(windows_of(clips, mode, count))
    for g in range(0, len(todo), group):
        part = todo[g:g + group]
        patches = torch.stack([torch.from_numpy(batch.patchify(f.reshape(-1, 2, HEIGHT, WIDTH, 3))) for f, _, _, _ in part])
        places = np.stack([batch.video_positions(t * stretch, len(writer.prefix), model.config["tokens_per_second"])
                           for _, t, _, _ in part], 1)
        asks = [[k for k in range(8) if k not in u] + ([] if u else [8]) for _, _, _, u in part]
        words = [[writer.question(text.LIST_ALL if k == 8 else text.questions(k)[0]) for k in a] for a in asks]
        answers = generate(model, writer, patches, torch.from_numpy(places), words)
        for (_, _, events, _), a, replies in zip(part, asks, answers):
            for kind, reply in zip(a, replies):
                true = [(s, e, DESCRIPTIONS[k]) for k, s, e in events if kind in (k, 8)]
                (every if kind == 8 else single).add(text.parse(reply), true)
    return single, every


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("--windows", type=int, default=40)
    args = p.parse_args()
    torch.set_num_threads(1)
    model, writer = load(args.model), batch.Writer(Tokenizer.load(args.model))
    clips = [training_clip(900_000 + 2 * i) for i in range(min(args.windows, 40))]  # none with uneven base times
    begin = time.time()
    for name, mode in MODES.items():
        single, every = evaluate(model, writer, clips, mode, args.windows)
        print(f"{name:7} {single.row()}\n  all   {every.row()}", flush=True)
    single, _ = evaluate(model, writer, clips, 2, args.windows // 2, stretch=2.0)
    print(f"control, ids doubled: IoU {single.mean():.3f}; {time.time() - begin:.0f} s")


if __name__ == "__main__":
    main()
