"""Truth in a window, and how an answer is measured against it. No torch here: evaluate.py runs without it."""
import itertools

import numpy as np

import text

SHORTEST = 0.75  # seconds that a cut event must show for a question about it to have a clear answer


def clipped(events, first, last):
    """Events inside a window, [(type, start, end)] from its first frame, in order of start; and types too cut to ask for."""
    inside, unclear = [], set()
    for kind, start, end in events:
        s, e = max(start, first), min(end, last)
        if e - s >= SHORTEST:
            inside.append((int(kind), float(s - first), float(e - first)))
        elif e - s > -0.3:
            unclear.add(int(kind))
    return sorted(inside, key=lambda e: (round(e[1] / text.STEP), round(e[2] / text.STEP), e[0])), unclear


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
