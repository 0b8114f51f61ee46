"""whend-camera with a mask, a gate and a budget: what is looked at, and what is sent of it."""
import os
import unittest

from worker import CAMERAS, Camera, Server, worker_pb2

GATE = os.path.join(CAMERAS, "gate.mp4")  # 60 s, 448 x 224: 16 x 8 cells; a door, a lamp, cars
LEFT = worker_pb2.MaskPolygon(xy=[0, 0, 0.5, 0, 0.5, 1, 0, 1])
S = 1000000


class Test(unittest.TestCase):
    def camera(self, **fields):
        camera = Camera()
        self.addCleanup(camera.close)
        camera.setup(**fields)
        camera.credit(10000)
        return camera

    def frames(self, camera, until_us):
        """[(FrameInfo, pixels)] up to a pts or the end of the file."""
        seen = []
        while True:
            self.assertTrue(camera.socket.poll(20000), camera.log_text())
            parts = camera.socket.recv_multipart()
            message = worker_pb2.FromWorker.FromString(parts[1])
            if message.HasField("health"):
                camera.health = message.health
            if message.HasField("frame"):
                seen.append((message.frame, parts[2]))
            if message.HasField("end") or (seen and seen[-1][0].pts_us >= until_us):
                return seen

    def check(self, seen):
        """The left half is grey and has no changed cell; the right half is neither."""
        changed = lone = 0
        for frame, pixels in seen:
            self.assertEqual((frame.width, frame.height, len(frame.cells)), (448, 224, 16))
            for y in (0, 100, 223):
                row = pixels[y * 448 * 3:(y + 1) * 448 * 3]
                self.assertEqual(set(row[:224 * 3]), {128})
                self.assertNotEqual(set(row[224 * 3:]), {128})
            left, right = set(frame.cells[0::2]), set(frame.cells[1::2])
            if left == {255}:
                self.assertEqual(right, {255})  # a refresh
                continue
            self.assertEqual(left, {0})
            changed += right != {0}
            lone += right == {0}
        for (a, _), (b, _) in zip(seen, seen[1:]):
            self.assertLessEqual(b.pts_us - a.pts_us, 2 * S + 1000)
        self.assertGreater(changed, 5)
        return lone

    def view(self):
        return dict(mask=[LEFT], gate=worker_pb2.GateSetup(sensitivity=1, refresh_us=2 * S))

    def test_file(self):
        camera = self.camera(url=GATE, **self.view())
        seen = self.frames(camera, 10**12)
        self.assertGreater(self.check(seen), 2)
        self.assertLess(len(seen), 115)
        self.assertEqual(len(seen) + camera.health.still, 120)

    def test_live(self):
        server = Server(GATE)
        self.addCleanup(server.stop)
        camera = self.camera(url=server.url, fps_min=4, fps_base=4, fps_max=4, **self.view())
        self.check(self.frames(camera, 12 * S))

    def test_budget(self):
        """1280 tokens a minute are 20 frames of 128 cells."""
        camera = self.camera(url=GATE, fps_min=1, fps_base=2, fps_max=4, max_tokens_per_minute=1280)
        seen = self.frames(camera, 10**12)
        self.assertLessEqual(len(seen), 20)
        self.assertGreaterEqual(len(seen), 15)
        self.assertEqual([f.cells for f, _ in seen], [b""] * len(seen))  # no gate


if __name__ == "__main__":
    unittest.main()
