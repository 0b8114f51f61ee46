"""whenctl clip and whenctl thumbnail: an event's own video out of a running whend."""
import json
import os
import unittest

import harness
from harness import World, one_line, query_pb2


class Media(unittest.TestCase):
    def test_clip_and_thumbnail(self):
        with World().start() as world:
            world.wait_examined(world.subscribe())
            event = next(e for e in world.events() if e.watch == "red-car")
            clip = os.path.join(world.dir, "clip.mp4")
            result = world.ctl("clip", event.id, "--margin", "1s", "--json", "-o", clip)
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            said = json.loads(result.stdout)
            self.assertEqual((said["file"], said["bytes"]), (clip, os.path.getsize(clip)))
            self.assertGreaterEqual(said["event_offset_s"], 1)
            self.assertLessEqual(said["event_offset_s"], 3 + 1e-6)  # a key frame every two seconds
            scan = harness.run(harness.program("whenscan"), "--model", harness.MODEL, "--json", "--question",
                               "when does a red car drive past?", "--video", clip)
            self.assertEqual(scan.returncode, 0, scan.stderr)
            found = json.loads(scan.stdout)
            self.assertTrue(any(abs(e["start_s"] - said["event_offset_s"]) < 1.5 for e in found), (found, said))

            thumbnail = os.path.join(world.dir, "t.jpg")
            for _ in range(2):  # made, then kept
                result = world.ctl("thumbnail", event.id, "--output", thumbnail)
                self.assertEqual((result.returncode, result.stderr), (0, ""))
                with open(thumbnail, "rb") as file:
                    self.assertEqual(file.read(3), b"\xff\xd8\xff")
            self.assertEqual(os.listdir(os.path.join(world.state, "thumbnails")), [event.id + ".jpg"])
            self.assertEqual(os.listdir(os.path.join(world.state, "media")), [])
            self.assertFalse(any(w.name.startswith("media/") and w.state == "failed" for w in world.status().workers))
            self.assertEqual(world.stop(), 0)

    def test_refusals(self):
        with World().start() as world:
            for words, code in ((("clip", "e-999"), 66), (("thumbnail", "../x"), 66), (("clip",), 64),
                                (("clip", "e-1", "--margin", "2h"), 64), (("thumbnail", "e-1", "--margin", "1s"), 64)):
                result = world.ctl(*words, "-o", os.path.join(world.dir, "out"))
                self.assertEqual(result.returncode, code, words)
                one_line(result.stderr)
            self.assertFalse([n for n in os.listdir(world.dir) if n.startswith("out")])
            gone = world.request(clip=query_pb2.ClipRequest(media_id=77))[0]
            self.assertEqual(gone.error.exit_code, 66)


if __name__ == "__main__":
    harness.main()
