"""whend-camera on a folder: which files are told, when, and with which time."""
import os
import shutil
import tempfile
import unittest

import cells
from worker import Camera, worker_pb2

FIRST_US = 1795423500250000  # 2026-11-23T08:45:00.250Z


def is_recording(message):
    return message.HasField("recording") and message.recording.path


class Test(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory(prefix="when-folder-")
        self.addCleanup(self.dir.cleanup)
        self.folder = os.path.join(self.dir.name, "nvr")
        os.mkdir(self.folder)
        self.clip = cells.encode(os.path.join(self.dir.name, "clip.mp4"), 20, "libx264", 10, ("-preset", "ultrafast"))
        os.utime(self.clip, (1795423600, 1795423600))

    def put(self, name, old=True):
        """A whole file, written long ago or just now."""
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        (shutil.copy2 if old else shutil.copy)(self.clip, path)
        return path

    def camera(self, **setup):
        camera = Camera()
        self.addCleanup(camera.close)
        camera.setup(url=self.folder, folder=True, **setup)
        return camera

    def counts(self, camera, good, bad):
        return camera.wait(lambda m: m.HasField("health") and (m.health.files, m.health.bad_files) == (good, bad)).health

    def test_times(self):
        self.put("gate_20261123T084500.250Z.mp4")
        self.put("2026-11-23/nothing.mp4")
        self.put("notes.txt")
        self.put(".hidden.mp4")
        camera = self.camera()
        files = {os.path.basename(f.path): f for f in (camera.wait(is_recording).recording for _ in range(2))}
        named, nameless = files["gate_20261123T084500.250Z.mp4"], files["nothing.mp4"]
        self.assertEqual((named.start_us, named.end_us), (FIRST_US, FIRST_US + 2000000))
        self.assertEqual(named.utc_source, worker_pb2.UTC_SOURCE_NAME)
        self.assertEqual(named.bytes, os.path.getsize(self.clip))
        # Nothing says when it was made but its time of writing.
        self.assertEqual((nameless.start_us, nameless.end_us), (1795423598000000, 1795423600000000))
        self.assertEqual(nameless.utc_source, worker_pb2.UTC_SOURCE_ARRIVAL)
        self.assertGreaterEqual(nameless.utc_err_us, 1000000)
        self.counts(camera, 2, 0)
        self.assertEqual(len(camera.of("recording")), 2)
        camera.stop()
        self.assertEqual(camera.wait_exit(), 0)

    def test_names_in_local_time(self):
        """In the zone of the camera; in the hour that its clocks show twice, sure to that hour only."""
        for name in ("gate_20260705_084500.mp4", "gate_20261025_023000.mp4", "gate_20260705T084500Z.mp4"):
            self.put(name)
        camera = self.camera(time_zone="CET-1CEST,M3.5.0,M10.5.0/3")
        files = {os.path.basename(f.path): f for f in (camera.wait(is_recording).recording for _ in range(3))}
        summer_us = 1783233900000000  # 2026-07-05T06:45:00Z
        self.assertEqual(files["gate_20260705_084500.mp4"].start_us, summer_us)
        self.assertEqual(files["gate_20260705_084500.mp4"].utc_err_us, 1000000)
        self.assertEqual(files["gate_20260705T084500Z.mp4"].start_us, summer_us + 7200000000)
        self.assertEqual(files["gate_20261025_023000.mp4"].start_us, 1792888200000000)  # 00:30:00Z
        self.assertEqual(files["gate_20261025_023000.mp4"].utc_err_us, 3601000000)
        self.assertEqual({f.utc_source for f in files.values()}, {worker_pb2.UTC_SOURCE_NAME})

    def test_file_being_written(self):
        """It is told when its writer closed it, not before."""
        self.put("a.mp4")
        camera = self.camera()
        camera.wait(is_recording)
        with open(self.clip, "rb") as clip:
            data = clip.read()
        path = os.path.join(self.folder, "b.mp4")
        with open(path, "wb", buffering=0) as file:
            for at in range(0, len(data), len(data) // 3):
                file.write(data[at:at + len(data) // 3])
                camera.wait(lambda m: m.HasField("health"))
                camera.wait(lambda m: m.HasField("health"))
                self.assertEqual(len(camera.of("recording")), 1)
        self.assertEqual(camera.wait(is_recording).recording.path, path)
        self.counts(camera, 2, 0)
        self.assertEqual(len(camera.of("recording")), 2)

    def test_come_and_go(self):
        camera = self.camera()
        camera.wait(lambda m: m.HasField("health"))
        path = os.path.join(self.folder, "moved.mp4")
        shutil.copy(self.clip, path + ".part")
        os.rename(path + ".part", path)
        self.assertEqual(camera.wait(is_recording).recording.path, path)
        later = self.put("20261124/later.mp4", old=False)
        self.assertEqual(camera.wait(is_recording).recording.path, later)
        os.unlink(path)
        gone = camera.wait(lambda m: m.HasField("recording") and m.recording.removed).recording
        self.assertEqual(list(gone.removed), [path])
        self.counts(camera, 1, 0)

    def test_bad_files(self):
        with open(self.clip, "rb") as clip:
            data = clip.read()
        for name, content in (("a.mp4", b""), ("b.mp4", data[:len(data) // 2]), ("c.mkv", b"not a video" * 100)):
            path = os.path.join(self.folder, name)
            with open(path, "wb") as file:
                file.write(content)
            os.utime(path, (1795423600, 1795423600))
        camera = self.camera()
        health = self.counts(camera, 0, 3)
        self.assertIn(self.folder, health.reason)
        for name in ("a.mp4", "b.mp4", "c.mkv"):
            self.assertEqual(camera.log_text().count(f"camera=camera/gate/1 {self.folder}/{name}: "), 1)
        # One that becomes whole is taken.
        shutil.copy(self.clip, os.path.join(self.folder, "b.mp4"))
        self.assertTrue(camera.wait(is_recording).recording.path.endswith("b.mp4"))
        self.counts(camera, 1, 2)

    def test_known_and_not_mounted(self):
        paths = [self.put("a.mp4"), self.put("b.mp4")]
        size = os.path.getsize(self.clip)
        camera = self.camera(files=[worker_pb2.RecordingFile(path=p, bytes=size) for p in paths[:1]] +
                             [worker_pb2.RecordingFile(path=self.folder + "/gone.mp4", bytes=1)])
        self.assertEqual(camera.wait(is_recording).recording.path, paths[1])
        self.counts(camera, 2, 0)
        told = camera.of("recording")
        self.assertEqual([r.path for r in told if r.path], paths[1:])
        self.assertEqual([list(r.removed) for r in told if r.removed], [[self.folder + "/gone.mp4"]])
        camera.stop()
        camera.wait_exit()
        # All at once is no removal.
        for path in paths:
            os.unlink(path)
        camera = self.camera(files=[worker_pb2.RecordingFile(path=p, bytes=size) for p in paths])
        camera.wait(lambda m: m.HasField("health") and m.health.state == "stalled" and "mounted" in m.health.reason)
        self.assertEqual(camera.of("recording"), [])

    def test_no_folder(self):
        shutil.rmtree(self.folder)
        camera = self.camera()
        end = camera.wait(lambda m: m.HasField("end")).end
        self.assertEqual(end.exit_code, os.EX_NOINPUT)
        self.assertIn("no such folder", end.reason)


if __name__ == "__main__":
    unittest.main()
