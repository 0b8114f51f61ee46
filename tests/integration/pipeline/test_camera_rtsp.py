"""whend-camera on a live stream: time, faults, recording."""
import os
import resource
import signal
import socket
import unittest

from worker import CAMERAS, Camera, Server, is_frame, is_state, worker_pb2

GATE = os.path.join(CAMERAS, "gate.mp4")
SECRET = "right-horse"


class Test(unittest.TestCase):
    def server(self, *options, video=GATE, port=0):
        server = Server(video, *options, port=port)
        self.addCleanup(server.stop)
        return server

    def camera(self, *args, **kwargs):
        camera = Camera(*args, **kwargs)
        self.addCleanup(camera.close)
        return camera

    def check_times(self, transport):
        """Every frame's UTC is the server's truth, within its own error, whatever came before the
        first report; nothing is missing."""
        server, camera = self.server(), self.camera()
        camera.setup(url=server.url, transport=transport, fps_min=10, fps_base=10, fps_max=10)
        first_us = int(server.line("first-frame-utc-us "))
        camera.wait(lambda m: m.HasField("frame") and m.frame.pts_us >= 6000000)
        frames = camera.of("frame")
        self.assertGreaterEqual(len(frames), 60)
        corrections = {c.session: c for c in camera.of("correction")}
        for i, frame in enumerate(frames):
            self.assertEqual(frame.session, 1)
            self.assertEqual((frame.width, frame.height), (448, 224))
            self.assertEqual(round((frame.pts_us - frames[0].pts_us) / 1e5), i)  # none missing
            utc_us, err_us = frame.utc_us, frame.utc_err_us
            self.assertLessEqual(abs(utc_us - (first_us + i * 100000)), err_us)
            if frame.utc_source == worker_pb2.UTC_SOURCE_ARRIVAL:
                self.assertIn(1, corrections)
                utc_us, err_us = frame.pts_us + corrections[1].utc_minus_pts_us, corrections[1].utc_err_us
            self.assertGreater(err_us, 0)
            self.assertLessEqual(err_us, 100000)
            self.assertLessEqual(abs(utc_us - (first_us + i * 100000)), 50000)
        self.assertEqual(frames[-1].utc_source, worker_pb2.UTC_SOURCE_RTCP)
        camera.stop()
        self.assertEqual(camera.wait_exit(), 0)
        self.assertEqual(camera.of("end"), [])

    def test_time_over_tcp(self):
        self.check_times("tcp")

    def test_time_over_udp(self):
        self.check_times("udp")

    def test_motion_moves_the_rate(self):
        server, camera = self.server(), self.camera()
        camera.setup(url=server.url, fps_min=1, fps_base=2, fps_max=10)
        camera.wait(lambda m: m.HasField("frame") and m.frame.pts_us >= 9000000, 30)
        pts = [f.pts_us for f in camera.of("frame")]
        gaps = [b - a for a, b in zip(pts, pts[1:])]
        self.assertEqual(min(gaps), 100000)  # a car drives past at 5.4 s
        self.assertGreaterEqual(max(gaps), 400000)  # nothing moves before 3.2 s

    def test_wrong_password(self):
        server, camera = self.server("--user", "eve", "--password", SECRET), self.camera()
        camera.setup(url=server.url.replace("//", "//eve:wrong-horse@"))
        health = camera.wait(is_state("connecting", "next try")).health
        self.assertIn("wrong user or password", health.reason)
        self.assertGreaterEqual(float(health.reason.split("next try in ")[1].split()[0]), 8)
        camera.stop()
        self.assertEqual(camera.wait_exit(), 0)
        self.assertNotIn("wrong-horse", camera.log_text() + str(camera.messages))
        # The right one, given apart from the URL, wins over what the URL says.
        camera = self.camera("camera/gate/2")
        camera.setup(url=server.url.replace("//", "//eve:wrong-horse@"), user="eve", password=SECRET)
        camera.wait(is_frame())
        self.assertNotIn("horse", camera.log_text() + str(camera.messages))

    def test_not_found_and_refused(self):
        server, camera = self.server(), self.camera()
        camera.setup(url=server.url + "-not")
        camera.wait(is_state("connecting", "404"))
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        camera = self.camera("camera/gate/2")
        camera.setup(url=f"rtsp://127.0.0.1:{port}/cam")
        health = camera.wait(is_state("connecting", "refused")).health
        self.assertIn("next try in", camera.wait(is_state("connecting", "next try")).health.reason)
        self.assertEqual(health.sent, 0)

    def test_not_a_url(self):
        camera = self.camera()
        camera.setup(url="rtsp://eve:" + SECRET + "@")
        end = camera.wait(lambda m: m.HasField("end")).end
        self.assertTrue(end.failed)
        self.assertEqual(end.exit_code, os.EX_CONFIG)
        self.assertEqual(camera.wait_exit(), os.EX_CONFIG)
        self.assertNotIn(SECRET, camera.log_text() + str(camera.messages))

    def test_server_killed_and_back(self):
        server, camera = self.server(), self.camera()
        camera.setup(url=server.url)
        camera.wait(is_frame(1))
        server.stop()
        camera.wait(is_state("connecting", "next try"))
        self.server(port=int(server.url.split(":")[2].split("/")[0]))
        frame = camera.wait(lambda m: m.HasField("frame") and m.frame.session > 1, 30).frame
        self.assertLess(frame.utc_err_us, 1000000)
        health = camera.wait(is_state("running")).health
        self.assertGreaterEqual(health.reconnects, 1)
        self.assertEqual(health.reason, "")

    def test_stall(self):
        server, camera = self.server(), self.camera()
        camera.setup(url=server.url, stall_us=1500000)
        camera.wait(is_frame(1))
        server.process.send_signal(signal.SIGSTOP)
        camera.wait(is_state("stalled", "no data for"))
        server.process.send_signal(signal.SIGCONT)
        camera.wait(lambda m: m.HasField("frame") and m.frame.session > 1, 30)

    def test_stream_ends(self):
        server = self.server("--once", video=os.path.join(CAMERAS, "gate.mp4"))
        camera = self.camera()
        camera.setup(url=server.url)
        camera.wait(is_frame())
        camera.stop()
        self.assertEqual(camera.wait_exit(), 0)
        again = self.camera("camera/gate/2")
        again.setup(url=server.url)
        again.wait(is_state("connecting", "404"))

    # --- recording ---

    def record(self, name="camera/gate/1", **fields):
        server = self.server()
        camera = self.camera(name)
        values = dict(url=server.url, recording_dir=self.folder(camera), segment_us=2000000)
        values.update(fields)
        camera.setup(**values)
        self.first_us = int(server.line("first-frame-utc-us "))
        return camera

    def folder(self, camera):
        if not hasattr(self, "recordings"):
            self.recordings = os.path.join(camera.dir.name, "recordings")
        return self.recordings

    def check_archive(self, files, start_us, end_us, least):
        """An archive job over these files: each frame's UTC within its error."""
        camera = self.camera("archive/gate/9")
        camera.setup(span_start_us=start_us, span_end_us=end_us, fps_min=5, fps_base=5, fps_max=5, files=[
            worker_pb2.RecordingFile(path=f.path, start_us=f.start_us, start_err_us=f.utc_err_us, end_us=f.end_us,
                                     utc_source=f.utc_source) for f in files])
        camera.credit(10000)
        end = camera.wait(lambda m: m.HasField("end")).end
        self.assertEqual(camera.wait_exit(), 0)
        self.assertFalse(end.failed)
        frames = camera.of("frame")
        self.assertGreaterEqual(len(frames), least)
        for frame in frames:
            self.assertGreaterEqual(frame.utc_us, start_us)
            self.assertLess(frame.utc_us, end_us)
            self.assertEqual(frame.pts_us, frame.utc_us - start_us)
            self.assertIn(frame.utc_source, {f.utc_source for f in files})  # as it was when it was recorded
            # Pictures were made every 100 ms from first_us on.
            off = (frame.utc_us - self.first_us + 50000) % 100000 - 50000
            self.assertLessEqual(abs(off), frame.utc_err_us)
        times = [f.utc_us for f in frames]
        self.assertEqual(times, sorted(set(times)))
        return frames

    def test_recording_and_archive(self):
        camera = self.record()
        closed = [camera.wait(lambda m: m.HasField("recording")).recording for _ in range(3)]
        camera.stop()
        self.assertEqual(camera.wait_exit(), 0)
        for file in closed:
            self.assertEqual(os.path.getsize(file.path), file.bytes)
            self.assertRegex(os.path.basename(file.path), r"^\d{8}T\d{6}\.\d{3}Z\.mp4$")
            self.assertLessEqual(abs(file.end_us - file.start_us - 2000000), 1000)
        for a, b in zip(closed, closed[1:]):
            # One may be known by arrival still, and the next by the first report.
            self.assertLessEqual(abs(b.start_us - a.end_us), 20000 if a.utc_source == b.utc_source else a.utc_err_us)
        self.assertEqual([n for n in os.listdir(self.recordings) if n.endswith(".part")], [])
        frames = self.check_archive(closed, closed[0].start_us + 1000000, closed[2].start_us + 1000000, 19)
        gaps = [b.utc_us - a.utc_us for a, b in zip(frames, frames[1:])]
        self.assertLessEqual(max(gaps), 210000)

    def test_killed_while_recording(self):
        camera = self.record(segment_us=60000000)
        camera.wait(lambda m: m.HasField("frame") and m.frame.pts_us >= 5000000)
        camera.process.send_signal(signal.SIGKILL)
        camera.process.wait()
        while camera.receive(0.2) is not None:
            pass
        seen = camera.of("frame")
        seen_us = seen[-1].pts_us - seen[0].pts_us
        left = os.listdir(self.recordings)
        self.assertEqual([n[-9:] for n in left], [".mp4.part"])
        after = self.record("camera/gate/2")
        file = after.wait(lambda m: m.HasField("recording")).recording
        self.assertGreater(file.end_us - file.start_us, 3000000)
        self.assertTrue(os.path.exists(file.path))
        after.stop()
        self.assertEqual(after.wait_exit(), 0)
        frames = self.check_archive([file], file.start_us, file.end_us, 15)
        # The recording begins with the first frame: at most the last second of it is lost.
        self.assertGreaterEqual(frames[-1].pts_us, seen_us - 1000000)

    def test_retention(self):
        camera = self.record(keep_bytes=30000)
        seen, removed = [], []
        while not removed:
            message = camera.wait(lambda m: m.HasField("recording"), 30).recording
            if message.path:
                seen.append(message.path)
            removed += message.removed
        self.assertEqual(removed, seen[:len(removed)])  # the oldest first
        self.assertFalse(any(os.path.exists(path) for path in removed))
        self.assertLessEqual(sum(os.path.getsize(p) for p in seen if os.path.exists(p)), 30000)

    def test_disk_fails(self):
        """Writes fail as on a full disk: recording stops and says so, frames go on."""
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGXFSZ, signal.SIG_DFL)
        camera = self.camera(restore_signals=False)
        resource.prlimit(camera.process.pid, resource.RLIMIT_FSIZE, (10000, 10000))
        server = self.server()
        camera.setup(url=server.url, recording_dir=self.folder(camera), segment_us=60000000)
        health = camera.wait(lambda m: m.HasField("health") and m.health.recording_stopped).health
        self.assertEqual(health.state, "running")
        sent = camera.health.sent
        camera.wait(lambda m: m.HasField("health") and m.health.sent >= sent + 3)
        self.assertIn("recording stopped", camera.log_text())
        camera.stop()
        self.assertEqual(camera.wait_exit(), 0)


if __name__ == "__main__":
    unittest.main()
