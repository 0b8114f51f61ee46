"""whend-camera makes clips and thumbnails out of recordings."""
import json
import os
import unittest

from worker import CAMERAS, Camera, worker_pb2

GATE = os.path.join(CAMERAS, "gate.mp4")  # a key frame every two seconds, ten pictures a second
S = 1000000
START = 1767594600 * S


class Test(unittest.TestCase):
    def camera(self, name):
        camera = Camera(name)
        self.addCleanup(camera.close)
        return camera

    def make(self, out, begin_s, end_s, thumbnail=False, number=[0], **fields):
        """The MediaDone of one job over gate.mp4, or over the files given."""
        number[0] += 1
        camera = self.camera(f"media/{number[0]}/1")
        path = os.path.join(camera.dir.name, out)
        values = dict(url=GATE, start_utc_us=START, span_start_us=START + round(begin_s * S),
                      span_end_us=START + round(end_s * S),
                      media=worker_pb2.MediaJob(out_path=path, thumbnail=thumbnail))
        values.update(fields)
        camera.setup(**values)
        done = camera.wait(lambda m: m.HasField("media_done")).media_done
        self.assertEqual(camera.wait_exit(), 0)
        return done, path

    def recording(self, done, path):
        return worker_pb2.RecordingFile(path=path, start_us=done.start_us, start_err_us=1000, end_us=done.end_us,
                                        utc_source=worker_pb2.UTC_SOURCE_RTCP)

    def pictures(self, file, begin_s, end_s):
        """{UTC: pixels} of an archive job over one file."""
        camera = self.camera("archive/gate/1")
        camera.setup(span_start_us=START + round(begin_s * S), span_end_us=START + round(end_s * S), fps_min=10,
                     fps_base=10, fps_max=10, files=[file])
        camera.credit(10000)
        seen = {}
        while True:
            parts = camera.socket.recv_multipart()
            message = worker_pb2.FromWorker.FromString(parts[1])
            if message.HasField("frame"):
                seen[message.frame.utc_us] = parts[2]
            elif message.HasField("end"):
                self.assertFalse(message.end.failed, message.end.reason)
                return seen

    def test_clip_across_files(self):
        """From the key frame before the span to its end, out of two files, picture by picture the same."""
        a, b = self.make("a.mp4", 0, 20), self.make("b.mp4", 20, 40)
        self.assertEqual((a[0].start_us, a[0].end_us), (START, START + 20 * S))
        self.assertEqual((b[0].start_us, b[0].end_us), (START + 20 * S, START + 40 * S))
        done, path = self.make("clip.mp4", 15.3, 30.7, files=[self.recording(*b), self.recording(*a)])
        self.assertFalse(done.failed, done.reason)
        self.assertEqual(done.reason, "")
        self.assertEqual((done.start_us, done.end_us), (START + 14 * S, START + round(30.7 * S)))
        clip = self.pictures(self.recording(done, path), 14, 31)
        self.assertEqual(sorted(clip), [START + 14 * S + i * S // 10 for i in range(167)])
        whole = worker_pb2.RecordingFile(path=GATE, start_us=START, end_us=START + 60 * S)
        truth = self.pictures(whole, 14, 31)
        for utc_us, pixels in clip.items():
            self.assertEqual(pixels, truth[utc_us], utc_us)

    def test_thumbnail(self):
        with open(os.path.join(CAMERAS, "gate.truth.json")) as file:
            car = next(e for e in json.load(file) if "red car" in e["description"])
        done, path = self.make("t.jpg", car["start_seconds"], car["end_seconds"], thumbnail=True)
        self.assertFalse(done.failed, done.reason)
        middle = (car["start_seconds"] + car["end_seconds"]) / 2
        self.assertLess(abs((done.start_us - START) / S - middle), (car["end_seconds"] - car["start_seconds"]) / 2)
        with open(path, "rb") as file:
            jpeg = file.read()
        self.assertEqual((jpeg[:3], jpeg[-2:]), (b"\xff\xd8\xff", b"\xff\xd9"))
        # What is masked is not in it.
        all_of_it = worker_pb2.MaskPolygon(xy=[0, 0, 1, 0, 1, 1, 0, 1])
        done, path = self.make("m.jpg", car["start_seconds"], car["end_seconds"], thumbnail=True, mask=[all_of_it])
        self.assertLess(os.path.getsize(path), len(jpeg) / 2)

    def test_nothing_there(self):
        file = worker_pb2.RecordingFile(path=GATE, start_us=START, end_us=START + 60 * S)
        for thumbnail in (False, True):
            done, path = self.make("x", 100, 110, thumbnail=thumbnail, files=[file])
            self.assertTrue(done.failed)
            self.assertEqual(done.exit_code, os.EX_UNAVAILABLE)
            self.assertIn("no recording", done.reason)
            self.assertFalse(os.path.exists(path))

    def test_broken_recording(self):
        """A file that is no video ends a clip, and says so; what was before it is there."""
        a = self.make("a.mp4", 0, 20)
        bad = os.path.join(os.path.dirname(a[1]), "bad.mp4")
        with open(bad, "wb") as file:
            file.write(b"no video" * 1000)
        files = [self.recording(*a), worker_pb2.RecordingFile(path=bad, start_us=START + 20 * S,
                                                             end_us=START + 40 * S)]
        done, path = self.make("clip.mp4", 18, 30, files=files)
        self.assertFalse(done.failed)
        self.assertIn("breaks off", done.reason)
        self.assertEqual((done.start_us, done.end_us), (START + 18 * S, START + 20 * S))
        self.assertEqual(len(self.pictures(self.recording(done, path), 18, 20)), 20)


if __name__ == "__main__":
    unittest.main()
