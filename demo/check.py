"""Greedy decoding in torch and the measures, to steer training. The proof by the real engine is evaluate.py.

    check.py MODEL [--windows 40] [--threads 1]
"""
import argparse
import time

import numpy as np
import torch

import batch
import text
from model import Cache, load
from render import DESCRIPTIONS, HEIGHT, WIDTH, training_clip
from score import Score, clipped
from tokenizer import Tokenizer


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
    cache.used = size
    causal = torch.ones(size, size, dtype=torch.bool).tril()
    model.model(x, where, causal[None, None], cache)
    counts = torch.tensor([len(qs) for qs in questions])
    cache.repeat(counts)
    asked = [q for qs in questions for q in qs]
    resume = (positions.amax((0, 2)) + 1).repeat_interleave(counts)
    length = torch.tensor([len(q) for q in asked])
    ids = torch.tensor([q + [writer.pad] * (longest - len(q)) for q in asked])
    cache.place = size + torch.arange(longest).expand(len(asked), -1)
    cache.used = size + longest
    slots = torch.arange(cache.capacity)
    sees = slots[None, None, :cache.used] <= (size + torch.arange(longest))[None, :, None]
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
        cache.used = int(at.max()) + 1
        sees = slots[None, :cache.used] <= at[:, None]
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
        yield np.asarray(frames[index], np.float32), when - when[0], *clipped(events, when[0], when[-1])


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
