"""How well answers fit the truth: temporal IoU, events missed, spurious ones, boundaries inside the stated error.

Times are seconds from any one origin. A truth is (start, end); an answer is (start, end, start_error, end_error).
"""
from itertools import product

FOUND_IOU = 0.3  # an answer that overlaps less than this has not found the event


def iou(a, b):
    """Length of the intersection over length of the union of two intervals, 0..1."""
    shared = min(a[1], b[1]) - max(a[0], b[0])
    whole = max(a[1], b[1]) - min(a[0], b[0])
    return shared / whole if shared > 0 and whole > 0 else 0.0


def match(truths, answers):
    """Pairs each truth with at most one answer, best overlap first.

    Returns ([(truth, answer or None, iou)] in the truths' order, [answers that fit nothing]).
    """
    candidates = sorted(((iou(truths[t], answers[a]), t, a)
                         for t, a in product(range(len(truths)), range(len(answers)))), reverse=True)
    by_truth, used = {}, set()
    for value, t, a in candidates:
        if value >= FOUND_IOU and t not in by_truth and a not in used:
            by_truth[t] = (a, value)
            used.add(a)
    rows = []
    for t, truth in enumerate(truths):
        a, value = by_truth.get(t, (None, 0.0))
        rows.append((truth, None if a is None else answers[a], value))
    return rows, [answer for a, answer in enumerate(answers) if a not in used]


def inside(row):
    """(boundaries of this row that lie inside the error stated for them, boundaries)."""
    truth, answer, _ = row
    if answer is None:
        return 0, 0
    good = (abs(answer[0] - truth[0]) <= answer[2]) + (abs(answer[1] - truth[1]) <= answer[3])
    return good, 2


class Tally:
    """Sums over many cameras and questions."""

    def __init__(self):
        self.ious = []
        self.missed = 0
        self.spurious = 0
        self.boundaries = 0
        self.boundaries_inside = 0

    def add(self, truths, answers):
        rows, extra = match(truths, answers)
        for row in rows:
            self.ious.append(row[2])
            self.missed += row[1] is None
            good, count = inside(row)
            self.boundaries_inside += good
            self.boundaries += count
        self.spurious += len(extra)
        return rows, extra

    @property
    def mean_iou(self):
        """Over all true events; a missed one counts as 0."""
        return sum(self.ious) / len(self.ious) if self.ious else 0.0

    @property
    def inside_share(self):
        return self.boundaries_inside / self.boundaries if self.boundaries else 0.0
