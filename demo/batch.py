"""Training batches: windows cut from rendered clips at many rates, questions about them, and targets for the training-only heads.

A row of a batch is  prefix | 8 tokens a grid | question 1 + answer 1 | question 2 + answer 2 | ...
where every question sees the prefix and the video but no other question: one video, paid for once.
"""
import glob
import os

import numpy as np
import torch

import text
from render import HEIGHT, WIDTH
from score import clipped

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32) * 255
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32) * 255
ROWS, COLUMNS, TOKENS = 4, 8, 8  # patches, and merged tokens, of one grid
LONGEST = 16.5  # seconds that a window spans at most
TIME_BINS = 68
NEAR, NEAR_BINS = 1.5, 13  # how far from a grid a start or an end is still told, in seconds, and in bins of 0.25 s
FORCED = {"start", "_time", '":"', '","', "end", "description", ":", ".", " car", " drives", " past", " walks", " by", " runs",
          " is"}


class Clips:
    """The shards rendered so far, as memory maps; more may appear while training runs."""

    def __init__(self, folder):
        self.folder, self.shards, self.seen = folder, [], set()
        self.refresh()

    def refresh(self):
        for path in sorted(glob.glob(os.path.join(self.folder, "*.npz"))):
            if path not in self.seen:
                self.seen.add(path)
                side = np.load(path)
                frames = np.load(path[:-4] + ".frames.npy", mmap_mode="r")
                self.shards.append((frames, side["times"], side["events"], side["boxes"]))
        return sum(len(s[0]) for s in self.shards)

    def pick(self, rng, uneven=False):
        """A clip: any, or one whose frames lie off the beat."""
        frames, times, events, boxes = self.shards[rng.integers(len(self.shards))]
        off = np.flatnonzero(times[:, 1] * 4 % 1 > 0) if uneven else ()
        i = rng.choice(off) if len(off) else rng.integers(len(frames))
        return frames[i], times[i], events[i][events[i][:, 0] >= 0], boxes[i]


def gaps_for(rng, mode, n):
    """n - 1 steps between frames, in quarter seconds."""
    if mode != "uneven":
        return np.full(n - 1, mode)
    style = rng.integers(3)
    if style == 0:
        gaps = rng.integers(1, 5, n - 1)
    elif style == 1:
        gaps = rng.choice(rng.integers(1, 5, 2), n - 1)
    else:  # dense for a while, sparse for a while, as a sampler that follows motion
        gaps = np.where(np.cumsum(rng.random(n - 1) < 0.15) % 2 == rng.integers(2), 1, rng.integers(3, 5))
    while gaps.sum() > LONGEST * 4:
        gaps[rng.choice(np.flatnonzero(gaps > 1))] -= 1
    return gaps


def plan(rng, late=1.0):
    """Rate and number of frames of a batch. late = 0: short windows only, as a start."""
    rates, chances = [4, 3, 2, 1, 5, "uneven"], [0.18, 0.04, 0.2, 0.2, 0.03, 0.35]
    mode = rates[rng.choice(6, p=chances)]
    long = rng.random() < 0.15 + 0.65 * late
    seconds = rng.uniform(12, LONGEST) if long else rng.uniform(6, 12)
    if rng.random() < 0.25 * late:
        seconds = 16.0
    n = int(seconds / 0.6) if mode == "uneven" else int(seconds * 4 / mode + 1e-6)
    n = max(4, n // 2 * 2)
    if mode != "uneven":
        while (n - 1) * mode > LONGEST * 4:
            n -= 2
    return mode, n


def patchify(frames):
    """frames f32 [G, 2, 56, 112, 3] -> [G, 32, 1176], order: merged row, merged column, 2 x 2; channel, frame, y, x."""
    g = frames.shape[0]
    p = ((frames - MEAN) / STD).reshape(g, 2, ROWS // 2, 2, 14, COLUMNS // 2, 2, 14, 3)
    return np.ascontiguousarray(p.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7)).reshape(g, ROWS * COLUMNS, 1176)


def augment(rng, frames):
    """Brightness, contrast and colour a little off, per window."""
    gain = rng.uniform(0.9, 1.1) * rng.uniform(0.97, 1.03, 3)
    return np.clip(frames * gain.astype(np.float32) + np.float32(rng.uniform(-8, 8)), 0, 255)


def window(rng, clips, mode, n):
    """One window: frames f32 [n, 56, 112, 3], times [n] from its first frame, events, unclear types, boxes [n, 8, 5]."""
    frames, times, events, boxes = clips.pick(rng, mode == "uneven")
    index = np.concatenate(([0], np.cumsum(gaps_for(rng, mode, n))))
    index += rng.integers(0, len(times) - index[-1])
    picture, box, when = np.asarray(frames[index], np.float32), boxes[index].copy(), times[index]
    if rng.random() < 0.5:
        picture = picture[:, :, ::-1]
        box[..., [0, 2]] = WIDTH - box[..., [2, 0]]
    inside, unclear = clipped(events, when[0], when[-1])
    return augment(rng, picture), when - when[0], inside, unclear, box


def sight_targets(box):
    """What each merged token shows: boxes [G, 2, 8, 5] -> seen [G, 8 tokens, 2, 8], place [G, 8, 2, 8], and where place
    is defined. Place is the object's middle from the token's middle for moving things, the level for lamp and door."""
    side = 28.0
    y, x = np.divmod(np.arange(TOKENS), COLUMNS // 2)
    b = box[:, None]  # [G, 1, 2, 8, 5]
    left, top = (x * side)[None, :, None, None], (y * side)[None, :, None, None]
    with np.errstate(invalid="ignore"):
        width = np.minimum(b[..., 2], left + side) - np.maximum(b[..., 0], left)
        height = np.minimum(b[..., 3], top + side) - np.maximum(b[..., 1], top)
        area = np.clip(width, 0, None) * np.clip(height, 0, None)
        whole = (np.minimum(b[..., 2], WIDTH) - np.maximum(b[..., 0], 0)) * \
                (np.minimum(b[..., 3], HEIGHT) - np.maximum(b[..., 1], 0))
        there = area > 0.2 * whole
    place = (b[..., 0] + b[..., 2]) / 2 / side - (left / side + 0.5)
    place[..., 6:] = np.broadcast_to(b[..., 6:, 4], place[..., 6:].shape)
    seen = there.copy()
    seen[..., 6:] &= np.broadcast_to(b[..., 6:, 4] > 0.5, seen[..., 6:].shape)
    return seen, np.nan_to_num(place).astype(np.float32), there


def edge_targets(times, events, placed):
    """Where a start or an end can be read: labels [G * 8 tokens, 2 sides, 2] (the time in steps, and its distance from the grid
    in bins), -1 for none, on the tokens that show the event's object within NEAR seconds of that moment; and for each event
    and side the set of those tokens, bool [G * 8]. Only what was already seen counts."""
    first, second = times[0::2], times[1::2]
    shown = placed.any(2)  # [G, tokens, 8]
    label, sets = np.full((len(first), TOKENS, 2, 2), -1, np.int64), []
    for kind, start, end in events:
        for side, at in ((0, start), (1, end)):
            near = (np.abs(at - first) <= NEAR) & (at <= second + 1e-3)
            here = shown[..., kind] & near[:, None]
            if not here.any():
                g = max(0, int((first <= at + 1e-3).sum()) - 1)
                here = np.zeros_like(here)
                here[g:g + 2, -1] = True
            else:
                g, t = np.nonzero(here)
                label[g, t, side, 0] = round(at / text.STEP)
                label[g, t, side, 1] = np.round((at - first[g] + NEAR) / 0.25)
            sets.append(here.flatten())
    return label.reshape(-1, 2, 2), sets


class Writer:
    """Token ids of prompts and answers, made once each."""

    def __init__(self, tokenizer):
        self.tokenizer, self.questions = tokenizer, {}
        s = tokenizer.special
        self.start, self.end, self.pad = s["<|im_start|>"], s["<|im_end|>"], s["<|endoftext|>"]
        self.video, self.vision_start, self.vision_end = s["<|video_pad|>"], s["<|vision_start|>"], s["<|vision_end|>"]
        encode = tokenizer.encode
        self.prefix = [self.start, *encode("system\n" + text.SYSTEM), self.end, *encode("\n"), self.start,
                       *encode("user\n"), self.vision_start]
        self.tail = [self.end, *encode("\n"), self.start, *encode("assistant\n")]
        self.weight = np.ones(1024, np.float32)
        for piece in FORCED:
            ids = encode(piece)
            assert len(ids) == 1, piece
            self.weight[ids[0]] = 0.1
        self.weight[self.end] = 0.1
        for piece in ("[]", '[{"', '"}]', '"},{"'):
            ids = encode(piece)
            assert len(ids) == 1, piece
            self.weight[ids[0]] = 1.5

    def question(self, words):
        if words not in self.questions:
            self.questions[words] = [self.vision_end, *self.tokenizer.encode(words), *self.tail]
        return self.questions[words]

    def times_in(self, reply):
        """Where an answer's times are: [(place before the first character, time in steps)]."""
        colon = self.tokenizer.encode('":"')[0]
        digit = {self.tokenizer.encode(str(d))[0]: d for d in range(10)}
        out = []
        for i, token in enumerate(reply[:-8]):
            if token == colon and reply[i + 1] in digit:
                m1, m2, _, s1, s2, _, f1, f2 = (digit.get(t, 0) for t in reply[i + 1:i + 9])
                seconds = 600 * m1 + 60 * m2 + 10 * s1 + s2 + f1 / 10 + f2 / 100
                out.append((i, min(round(seconds / text.STEP), TIME_BINS - 1)))
        return out

    def answer(self, events):
        return [*self.tokenizer.encode(text.answer(events)), self.end]


FORMS = [text.questions(kind) for kind in range(8)]


def ask(rng, writer, events, unclear, budget):
    """Questions of one row: [(question ids, answer ids, type or 8 for all, events)] up to a budget of tokens."""
    out, used = [], 0
    counts = np.bincount([e[0] for e in events], minlength=8)
    kinds = [k for k in range(8) if k not in unclear]
    if not unclear and rng.random() < 0.85:
        out.append((writer.question(text.LIST_ALL), writer.answer(events), 8, events))
    yes = [k for k in kinds if counts[k]]
    no = [k for k in kinds if not counts[k]]
    some_car = counts[:4].any()
    while yes or no:
        take_no = no and (not yes or rng.random() < 0.45)
        pool = no if take_no else yes
        weight = np.array([3.0 if k < 4 and some_car else 1.0 for k in pool]) if take_no else \
            np.array([2.0 if counts[k] > 1 else 1.0 for k in pool])
        kind = int(rng.choice(pool, p=weight / weight.sum()))
        pool.remove(kind)
        forms = FORMS[kind]
        words = forms[rng.choice((0, 1))] if rng.random() < 0.4 else forms[rng.integers(len(forms))]
        question = writer.question(words)
        these = [e for e in events if e[0] == kind]
        reply = writer.answer(these)
        used = sum(len(q) + len(a) for q, a, _, _ in out)
        if out and used + len(question) + len(reply) > budget:
            if used + 24 > budget or not no or take_no:
                break
            continue
        out.append((question, reply, kind, these))
    return out


def video_positions(times, start, tokens_per_second):
    """Position ids [3, 8 G] by the published rule with real seconds, pts of the first frame of each pair."""
    t = np.floor(times[0::2].astype(np.float64) * tokens_per_second + 1e-4).astype(np.int64)
    t = np.repeat(t, TOKENS)
    y, x = np.divmod(np.tile(np.arange(TOKENS), len(times) // 2), COLUMNS // 2)
    return np.stack((t, y, x)) + start


def make(rng, clips, writer, tokens_per_second, rows_tokens=3000, late=1.0, budget=250):
    mode, n = plan(rng, late)
    head = len(writer.prefix)
    video = n // 2 * TOKENS
    rows = max(3, int(rows_tokens / (head + video + budget)))
    patches, sights, edges, ids, positions, branch, notes, times_bins, told, aims = ([] for _ in range(10))
    for row in range(rows):
        frames, times, events, unclear, box = window(rng, clips, mode, n)
        patches.append(patchify(frames.reshape(n // 2, 2, HEIGHT, WIDTH, 3)))
        sights.append(sight_targets(box.reshape(n // 2, 2, 8, 5)))
        edge, sets = edge_targets(times, events, sights[-1][2])
        edges.append(edge)
        place = video_positions(times, head, tokens_per_second)
        bins = np.floor(times[0::2] / text.STEP + 1e-3).astype(np.int64)
        times_bins.append(np.repeat(np.clip(bins, 0, TIME_BINS - 1), TOKENS))
        row_ids = writer.prefix + [writer.video] * video
        row_branch = [0] * len(row_ids)
        text_start = place.max() + 1
        row_positions = [np.tile(np.arange(head), (3, 1)), place]
        for k, (question, reply, kind, these) in enumerate(ask(rng, writer, events, unclear, budget)):
            at = len(row_ids)
            both = question + reply
            notes.append((row, at + len(question) - 1, len(reply), kind, min(len(these), 4)))
            for n_time, (i, bin_) in enumerate(writer.times_in(reply)):
                told += [(row, at + len(question) + i + c, bin_) for c in range(8)]
                aims += [sets[2 * events.index(these[n_time // 2]) + n_time % 2]] * 8
            row_ids += both
            row_branch += [k + 1] * len(both)
            row_positions.append(np.tile(text_start + np.arange(len(both)), (3, 1)))
        ids.append(row_ids)
        branch.append(row_branch)
        positions.append(np.concatenate(row_positions, 1))
    length = max(len(r) for r in ids)
    id_array = np.full((rows, length), writer.pad, np.int64)
    branch_array = np.full((rows, length), -1, np.int64)
    position_array = np.zeros((3, rows, length), np.int64)
    for row in range(rows):
        size = len(ids[row])
        id_array[row, :size], branch_array[row, :size], position_array[:, row, :size] = ids[row], branch[row], positions[row]
    b = torch.from_numpy(branch_array)
    sees = ((b[:, None, :] == 0) | (b[:, None, :] == b[:, :, None])) & torch.ones(length, length, dtype=torch.bool).tril()
    mask = torch.zeros(sees.shape).masked_fill_(~sees, -1e9)[:, None]
    where = [(row, np.arange(at, at + size)) for row, at, size, _, _ in notes]
    answer_row = np.concatenate([np.full(len(w), row) for row, w in where])
    answer_at = np.concatenate([w for _, w in where])
    target = id_array[answer_row, answer_at + 1]
    # A list is the hardest answer: what comes next is known only by what was said before.
    listed = np.concatenate([np.full(size, 2.0 if kind == 8 else 1.0, np.float32) for _, _, size, kind, _ in notes])
    tensor = torch.from_numpy
    told = torch.tensor(told, dtype=torch.long).reshape(-1, 3)
    return {"told": (told[:, 0], told[:, 1]), "told_bin": told[:, 2],
            "aim": torch.from_numpy(np.array(aims, bool).reshape(-1, video)),
            "patches": tensor(np.concatenate(patches)), "ids": tensor(id_array), "positions": tensor(position_array),
            "mask": mask, "video": (head, head + video), "grids": n // 2,
            "seen": tensor(np.concatenate([s[0] for s in sights])), "place": tensor(np.concatenate([s[1] for s in sights])),
            "placed": tensor(np.concatenate([s[2] for s in sights])), "edge": tensor(np.stack(edges)),
            "time": tensor(np.stack(times_bins)), "answer": (tensor(answer_row), tensor(answer_at)),
            "target": tensor(target), "weight": tensor(writer.weight[target] * listed),
            "prompt_end": (torch.tensor([x[0] for x in notes]), torch.tensor([x[1] for x in notes])),
            "kind": torch.tensor([x[3] for x in notes]), "count": torch.tensor([x[4] for x in notes])}


def make_sights(rng, clips, pairs=224, a_clip=16):
    """Single grids with the sight targets only: for the vision transformer's first minutes."""
    patches, sights = [], []
    for _ in range(pairs // a_clip):
        frames, times, _, boxes = clips.pick(rng)
        first = rng.integers(0, len(times) - 4, a_clip)
        index = np.stack((first, first + rng.integers(1, 5, a_clip)), 1)
        picture, box = augment(rng, np.asarray(frames[index], np.float32)), boxes[index].copy()
        if rng.random() < 0.5:
            picture = picture[:, :, :, ::-1]
            box[..., [0, 2]] = WIDTH - box[..., [2, 0]]
        patches.append(patchify(picture))
        sights.append(sight_targets(box))
    tensor = lambda i: torch.from_numpy(np.concatenate([s[i] for s in sights]))
    return {"patches": torch.from_numpy(np.concatenate(patches)), "seen": tensor(0), "place": tensor(1), "placed": tensor(2)}
