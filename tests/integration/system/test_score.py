"""The demo's arithmetic: what it calls found, missed and spurious."""
import os
import sys
import unittest

import harness

sys.path.insert(0, os.path.join(harness.SOURCE, "demo"))
from demo_score import Tally, iou, match  # noqa: E402


class Score(unittest.TestCase):
    def test_iou(self):
        self.assertEqual(iou((0, 4), (0, 4)), 1)
        self.assertEqual(iou((0, 4), (2, 6)), 1 / 3)
        self.assertEqual(iou((0, 4), (4, 6)), 0)
        self.assertEqual(iou((3, 3), (3, 3)), 0)

    def test_match(self):
        """One answer a truth, the best one; an answer over two events finds at most one of them."""
        rows, extra = match([(0, 4), (10, 14)], [(9, 14, 1, 1), (0, 3, 1, 1), (10, 14, 1, 1)])
        self.assertEqual([row[2] for row in rows], [0.75, 1.0])
        self.assertEqual(extra, [(9, 14, 1, 1)])
        rows, extra = match([(0, 4), (6, 10)], [(0, 10, 1, 1)])
        self.assertEqual(sorted(row[1] is None for row in rows), [False, True])
        self.assertEqual(extra, [])

    def test_tally(self):
        """A missed event counts as 0 in the mean; only found events have boundaries."""
        tally = Tally()
        tally.add([(0, 4), (10, 14)], [(0.2, 5, 0.3, 0.5)])
        tally.add([], [(20, 22, 1, 1)])
        self.assertEqual((tally.missed, tally.spurious), (1, 1))
        self.assertAlmostEqual(tally.mean_iou, 3.8 / 5 / 2)
        self.assertEqual((tally.boundaries_inside, tally.boundaries), (1, 2))


if __name__ == "__main__":
    harness.main()
