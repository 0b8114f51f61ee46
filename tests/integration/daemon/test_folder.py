"""A folder as a camera: its files are recordings that wait to be examined, once."""
import os
import unittest

from world import EXAMINED, S, UTC, World

CAR = "When does a car drive past?"


def utc(*seconds):
    return tuple(UTC + int(s * S) for s in seconds)


class TestFolder(unittest.TestCase):
    def setUp(self):
        self.world = World()
        self.addCleanup(lambda: self.world.close(bool(self._outcome.result.failures or self._outcome.result.errors)))

    def test_files_are_examined_once(self):
        w = self.world
        folder = os.path.join(w.dir, "nvr")
        os.mkdir(folder)
        w.cameras["nvr"] = {"url": folder + "/", "time_zone": "CET-1"}
        w.truth[CAR] = [utc(5, 9), utc(70, 75)]
        w.start()
        camera = w.wait_camera("camera/nvr")
        setup = camera.last("setup")
        self.assertEqual(setup["zone"], "CET-1")
        self.assertEqual((setup["url"], setup["folder"], setup["files"], setup["recording_dir"]), (folder, True, [], ""))

        def tell(name, start_s, end_s):
            camera.order("recording", path=f"{folder}/{name}", start_us=utc(start_s)[0], end_us=utc(end_s)[0], bytes=7,
                         utc_source=3, utc_err_us=S)

        def examine(incarnation, name, start_s, end_s):
            archive = w.wait_camera("archive/nvr", incarnation)
            self.assertEqual(archive.last("setup")["files"], [f"{folder}/{name}"])
            self.assertEqual(archive.last("setup")["span"], list(utc(start_s, end_s)))
            self.assertFalse(archive.last("setup")["folder"])
            archive.frames(start_s, end_s, session=1)
            archive.order("end")

        tell("a.mp4", 0, 30)
        examine(1, "a.mp4", 0, 30)
        w.wait(lambda: w.ledger("nvr", EXAMINED) == [(0, 30, EXAMINED, "")], "a.mp4 examined")
        # Told once more, as after it was touched: nothing of it waits again.
        tell("a.mp4", 0, 30)
        tell("b.mp4", 60, 80)
        examine(2, "b.mp4", 60, 80)
        w.wait(lambda: [s[:2] for s in w.ledger("nvr", EXAMINED)] == [(0, 30), (60, 80)], "b.mp4 examined")
        w.wait(lambda: len(w.events()) == 2, "both events")  # an answer may overtake what is published
        camera.order("health", state="running", files=2, bad_files=1, reason="c.mp4: truncated")
        w.wait(lambda: w.camera_status("nvr").bad_files == 1, "counters")
        self.assertEqual(w.camera_status("nvr").files, 2)

        # What is known need not be looked at again; what is gone is forgotten.
        w.kill()
        w.start()
        camera = w.wait_camera("camera/nvr")
        self.assertEqual(sorted(camera.last("setup")["files"]), [f"{folder}/a.mp4", f"{folder}/b.mp4"])
        camera.order("recording", removed=[f"{folder}/a.mp4"])
        tell("c.mp4", 90, 100)
        examine(1, "c.mp4", 90, 100)
        w.wait(lambda: len(w.ledger("nvr", EXAMINED)) == 3, "c.mp4 examined")
        w.kill()
        w.start()
        camera = w.wait_camera("camera/nvr")
        self.assertEqual(sorted(camera.last("setup")["files"]), [f"{folder}/b.mp4", f"{folder}/c.mp4"])


if __name__ == "__main__":
    unittest.main()
