"""whend-camera on a file: credit, times, ends and failures."""
import os
import signal
import subprocess
import sys
import time
import unittest

from worker import BUILD, CAMERAS, Camera, worker_pb2

GATE = os.path.join(CAMERAS, "gate.mp4")


def is_end(message):
    return message.HasField("end")


class Test(unittest.TestCase):
    def camera(self):
        camera = Camera()
        self.addCleanup(camera.close)
        return camera

    def test_credit_and_end(self):
        camera = self.camera()
        start_us = 1795420000000000
        camera.setup(url=GATE, start_utc_us=start_us, start_utc_err_us=20000)
        camera.credit(7)
        # Health goes on every second while nothing may be sent.
        camera.wait(lambda m: m.HasField("health") and m.health.sent == 7)
        camera.wait(lambda m: m.HasField("health") and m.health.sent == 7)
        self.assertEqual(len(camera.of("frame")), 7)
        camera.credit(1000)
        end = camera.wait(is_end).end
        self.assertEqual((end.failed, end.exit_code, end.reason), (False, 0, ""))
        self.assertEqual(end.duration_s, 60)
        self.assertEqual(camera.wait_exit(), 0)
        frames = camera.of("frame")
        self.assertEqual([f.pts_us for f in frames], [i * 500000 for i in range(120)])
        for frame in frames:
            self.assertEqual(frame.utc_us, start_us + frame.pts_us)
            self.assertEqual(frame.utc_err_us, 20000)
            self.assertEqual(frame.utc_source, worker_pb2.UTC_SOURCE_CONFIG)
        self.assertEqual(camera.health.state, "finished")
        self.assertEqual(camera.health.duration_s, 60)

    def test_no_time_known(self):
        camera = self.camera()
        begin_us = time.time() * 1e6
        camera.setup(url=GATE)
        camera.credit(3)
        for i in range(3):
            frame = camera.wait(lambda m: m.HasField("frame")).frame
            self.assertEqual(frame.utc_source, worker_pb2.UTC_SOURCE_ARRIVAL)
            self.assertGreater(frame.utc_err_us, 0)
            # It happens now: when its first frame was read.
            self.assertGreaterEqual(frame.utc_us - frame.pts_us, begin_us - 1000)
            self.assertLessEqual(frame.utc_us - frame.pts_us, time.time() * 1e6)

    def fails(self, exit_code, word, **fields):
        camera = self.camera()
        camera.setup(**fields)
        camera.credit(1000)
        end = camera.wait(is_end).end
        self.assertTrue(end.failed)
        self.assertEqual(end.exit_code, exit_code)
        self.assertIn(word, end.reason)
        self.assertNotIn("\n", end.reason)
        self.assertEqual(camera.wait_exit(), exit_code)
        self.assertEqual(camera.health.state, "failed")
        return camera

    def test_bad_files(self):
        self.fails(os.EX_NOINPUT, "/no/such.mp4", url="/no/such.mp4")
        self.fails(os.EX_DATAERR, "not a video", url=os.path.abspath(__file__))
        camera = self.camera()
        cut = os.path.join(camera.dir.name, "cut.mp4")
        with open(GATE, "rb") as whole, open(cut, "wb") as part:
            part.write(whole.read(100000))
        camera = self.fails(os.EX_DATAERR, "truncated", url=cut)
        self.assertGreater(len(camera.of("frame")), 20)  # what could be read was sent
        self.fails(os.EX_NOINPUT, "/no/such.mp4", url="", span_start_us=1000000, span_end_us=5000000,
                   files=[worker_pb2.RecordingFile(path="/no/such.mp4", start_us=1, end_us=9000000)])

    def test_bad_setup(self):
        camera = self.camera()
        camera.setup(url=GATE, cell_px=0)
        self.assertEqual(camera.wait(is_end).end.exit_code, os.EX_CONFIG)

    def test_stop_in_the_middle(self):
        camera = self.camera()
        camera.setup(url=GATE)
        camera.credit(2)
        camera.wait(lambda m: m.HasField("frame"))
        camera.process.send_signal(signal.SIGTERM)
        self.assertEqual(camera.wait_exit(), 0)
        self.assertEqual(camera.of("end"), [])  # it has not come to its end

    def test_dies_with_its_parent(self):
        parent = subprocess.Popen(
            [sys.executable, "-c", "import signal, subprocess, sys\n"
             "child = subprocess.Popen(sys.argv[1:])\n"
             "print(child.pid, flush=True)\n"
             "signal.pause()", os.path.join(BUILD, "whend-camera"), "--connect", "ipc:///tmp/when-nobody.ipc", "--id",
             "camera/x/1"], stdout=subprocess.PIPE, text=True)
        self.addCleanup(parent.stdout.close)
        child = int(parent.stdout.readline())
        status = f"/proc/{child}/status"
        end = time.monotonic() + 10
        # Once it catches SIGTERM it has asked to be told, which is the next thing it does.
        while time.monotonic() < end and not self.catches_term(status):
            os.sched_yield()
        parent.kill()
        parent.wait()
        while time.monotonic() < end and self.is_alive(status):
            os.sched_yield()
        self.assertFalse(self.is_alive(status))

    @staticmethod
    def catches_term(status):
        with open(status) as file:
            caught = next(line for line in file if line.startswith("SigCgt:"))
        return int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1

    @staticmethod
    def is_alive(status):
        try:
            with open(status) as file:
                return not any(line.startswith("State:\tZ") for line in file)
        except OSError:
            return False


if __name__ == "__main__":
    unittest.main()
