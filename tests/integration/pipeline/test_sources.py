"""Proof of time, streams: codecs x transports x who may look, by pictures that carry their number."""
import base64
import json
import os
import subprocess
import tempfile
import unittest

import cells
from worker import Camera, Server, is_frame, is_state, worker_pb2

COUNT, FPS = 300, 10  # long enough for what happens late on a busy machine
PERIOD_US = 1000000 // FPS
TICKS_US = 100  # RTP times and NTP fractions are rounded
SECRET = "right-horse"
CODECS = {  # as cameras encode: no B-frames but for one
    "h264": ("a.mp4", "libx264", ("-preset", "ultrafast", "-g", "10", "-bf", "0")),
    "h264b": ("b.mp4", "libx264", ("-preset", "veryfast", "-g", "10", "-bf", "3", "-sc_threshold", "0")),
    "h265": ("c.mp4", "libx265", ("-preset", "ultrafast", "-g", "10", "-tag:v", "hvc1", "-x265-params",
                                  "bframes=0:log-level=none:pools=none")),
    "mpeg4": ("d.mp4", "mpeg4", ("-q:v", "3", "-g", "10", "-bf", "2")),
    "jpeg": ("e.avi", "mjpeg", ("-q:v", "3", "-huffman", "default")),
}


class Streams(unittest.TestCase):
    """A server for every codec, a camera, and the check of their times; without tests of its own."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="when-sources-")
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def server(self, codec="h264", *options, port=0, **encoding):
        name, encoder, quality = CODECS[codec]
        if not os.path.exists(self.path(name)):
            cells.encode(self.path(name), COUNT, encoder, FPS, quality, **encoding)
        return self.play(self.path(name), codec.rstrip("b"), *options, port=port)

    def play(self, path, codec, *options, port=0):
        server = Server(path, "--codec", codec, *options, port=port, program="tests/rtsp-camera")
        self.addCleanup(server.stop)
        return server

    def camera(self, name="camera/gate/1", **kwargs):
        camera = Camera(name, **kwargs)
        self.addCleanup(camera.close)
        camera.keep_pixels = True
        return camera

    def watch(self, server, seconds=3, camera=None, offset_s=0, **setup):
        """Frames until `seconds` of the stream have come; each has its own picture's time."""
        camera = camera or self.camera()
        values = dict(url=server.url, fps_min=60, fps_base=60, fps_max=60)
        values.update(setup)
        camera.setup(**values)
        first_us = int(server.line("first-frame-utc-us ")) + offset_s * 1000000
        # A busy machine may drop pictures, and those that come must be enough to judge by.
        camera.wait(lambda m: m.HasField("frame") and m.frame.pts_us >= seconds * 1000000 and len(camera.frames) > 5, 30)
        self.check(camera, first_us)
        return camera

    def check(self, camera, first_us, session=1):
        corrections = {c.session: c for c in camera.of("correction")}
        numbers = []
        for frame, pixels in camera.frames:
            if frame.session != session:
                continue
            number = cells.read(pixels, frame.width, frame.height)
            numbers.append(number)
            truth_us = first_us + number * PERIOD_US
            self.assertLessEqual(abs(frame.utc_us - truth_us), max(PERIOD_US + TICKS_US, frame.utc_err_us), f"picture {number}")
            if frame.utc_source == worker_pb2.UTC_SOURCE_ARRIVAL and session in corrections:
                correction = corrections[session]
                off_us = frame.pts_us + correction.utc_minus_pts_us - truth_us
                self.assertLessEqual(abs(off_us), max(PERIOD_US, correction.utc_err_us), f"picture {number}, corrected")
        self.assertGreater(len(numbers), 5)
        self.assertEqual(numbers, sorted(set(numbers)))
        return numbers

    def no_secret(self, camera, *more):
        with open(f"/proc/{camera.process.pid}/cmdline", "rb") as cmdline, \
                open(f"/proc/{camera.process.pid}/environ", "rb") as environ:
            out = cmdline.read().decode() + environ.read().decode()
        out += camera.log_text() + str(camera.messages)
        for secret in (SECRET, *more):
            self.assertNotIn(secret, out)
            self.assertNotIn(base64.b64encode(f"eve:{secret}".encode()).decode(), out)


class Test(Streams):
    # --- codecs and transports ---

    def test_h264_tcp(self):
        camera = self.watch(self.server("h264"))
        health = camera.wait(is_state("running")).health
        self.assertEqual((health.codec, health.width, health.height), ("H264", cells.WIDTH, cells.HEIGHT))
        self.assertTrue(health.decoder)

    def test_h264_udp(self):
        self.watch(self.server("h264"), transport="udp")

    def test_h264_bframes(self):
        self.watch(self.server("h264b"))

    def test_h265_tcp(self):
        self.watch(self.server("h265"))

    def test_h265_udp(self):
        self.watch(self.server("h265"), transport="udp")

    def test_mpeg4_tcp(self):
        self.watch(self.server("mpeg4"))

    def test_mpeg4_udp(self):
        self.watch(self.server("mpeg4"), transport="udp")

    def test_jpeg_tcp(self):
        self.watch(self.server("jpeg"))

    def test_jpeg_udp(self):
        self.watch(self.server("jpeg"), transport="udp")

    # --- who may look ---

    def test_basic(self):
        server = self.server("h264", "--user", "eve", "--password", SECRET, "--auth", "basic")
        self.no_secret(self.watch(server, 1, user="eve", password=SECRET))

    def test_digest(self):
        server = self.server("h264", "--user", "eve", "--password", SECRET, "--auth", "digest")
        self.no_secret(self.watch(server, 1, user="eve", password=SECRET))

    def refused(self, auth, *options, **setup):
        server, camera = self.server("h264", "--user", "eve", "--password", SECRET, "--auth", auth, *options), self.camera()
        camera.setup(url=server.url, user="eve", password="wrong-horse", retry_us=100000, **setup)
        health = camera.wait(is_state("connecting", "next try")).health
        self.assertIn("wrong user or password", health.reason)
        self.assertEqual(health.logins_refused, 1)
        self.no_secret(camera, "wrong-horse")

    def test_basic_wrong(self):
        self.refused("basic")

    def test_digest_wrong(self):
        self.refused("digest")

    def test_tls_wrong(self):
        self.refused("digest", "--tls", cells.certificate(self.path("tls.pem")), tls_ca=self.path("tls.pem"))

    def test_tls_basic(self):
        server = self.server("h264", "--tls", cells.certificate(self.path("tls.pem")), "--user", "eve", "--password",
                             SECRET, "--auth", "basic")
        self.no_secret(self.watch(server, 1, tls_ca=self.path("tls.pem"), user="eve", password=SECRET))

    def test_tls_of_a_stranger(self):
        server, camera = self.server("h264", "--tls", cells.certificate(self.path("tls.pem"))), self.camera()
        camera.setup(url=server.url)
        self.assertIn("tls_ca", camera.wait(is_state("connecting", "certificate")).health.reason)
        self.assertEqual(camera.of("frame"), [])

    def test_tls_of_another_stranger(self):
        """A certificate that is not the one in tls_ca."""
        server, camera = self.server("h264", "--tls", cells.certificate(self.path("tls.pem"))), self.camera()
        camera.setup(url=server.url, tls_ca=cells.certificate(self.path("other.pem")))
        camera.wait(is_state("connecting", "certificate"))
        self.assertEqual(camera.of("frame"), [])

    def test_tls_known(self):
        """Self-signed, and its name is not the host's, as cameras have it."""
        server = self.server("h264", "--tls", cells.certificate(self.path("tls.pem")), "--user", "eve", "--password",
                             SECRET, "--auth", "digest")
        self.no_secret(self.watch(server, 1, tls_ca=self.path("tls.pem"), user="eve", password=SECRET))

    def test_tls_unchecked(self):
        self.watch(self.server("h264", "--tls", cells.certificate(self.path("tls.pem"))), 1, tls_unchecked=True)

    def test_tls_ca_is_no_certificate(self):
        camera = self.camera()
        camera.setup(url="rtsps://127.0.0.1:9/cam", tls_ca=__file__)
        end = camera.wait(lambda m: m.HasField("end")).end
        self.assertEqual(end.exit_code, os.EX_CONFIG)
        self.assertIn("no certificate in PEM form", end.reason)

    # --- before it is configured ---

    def probe(self, *args):
        program = os.path.join(os.environ["WHEN_BUILD"], "whenscan")
        return subprocess.run([program, "--probe", *args], capture_output=True, text=True, timeout=60)

    def test_probe(self):
        server = self.server("h264", "--user", "eve", "--password", SECRET, "--auth", "digest", "--clock-offset", "-60")
        credential = self.path("gate")
        with open(os.open(credential, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(f"eve:{SECRET}\n")
        run = self.probe(server.url, "--credential", credential, "--json")
        self.assertEqual(run.returncode, 0, run.stderr)
        found = json.loads(run.stdout)
        self.assertEqual((found["codec"], found["width"], found["utc_source"]), ("H264", cells.WIDTH, "rtcp"))
        self.assertLess(abs(found["fps"] - FPS), 1)
        self.assertLess(abs(found["clock_off_us"] + 60000000), 2000000)
        refused = self.probe(server.url)
        self.assertEqual(refused.returncode, os.EX_NOPERM)
        self.assertIn("wrong user or password", refused.stderr)
        in_url = self.probe(server.url.replace("//", f"//eve:{SECRET}@"))
        self.assertEqual(in_url.returncode, os.EX_USAGE)
        for result in (run, refused, in_url):
            self.assertNotIn(SECRET, result.stdout + result.stderr)

    # --- clocks ---

    def test_clock_is_off(self):
        """The camera's own clock counts, also when it is wrong: its events fit its other records."""
        self.watch(self.server("h264", "--clock-offset", "-3600"), 3, offset_s=-3600)

    def test_no_reports(self):
        """By arrival then, and said so."""
        camera = self.watch(self.server("h264", "--no-reports"), 6)
        self.assertEqual({f.utc_source for f in camera.of("frame")}, {worker_pb2.UTC_SOURCE_ARRIVAL})

    def check_step(self, step_s):
        server = self.server("h264", "--step", str(step_s), "--step-after", "2")
        camera = self.camera()
        camera.setup(url=server.url, fps_min=60, fps_base=60, fps_max=60)
        first_us = int(server.line("first-frame-utc-us "))
        at_us = camera.wait(is_frame(2), 30).frame.pts_us
        camera.wait(lambda m: m.HasField("health") and m.health.clock_steps == 1)
        camera.wait(lambda m: m.HasField("frame") and m.frame.pts_us >= at_us + 1000000 and
                    sum(frame.session == 2 for frame, _ in camera.frames) > 5)
        self.check(camera, first_us)
        self.check(camera, first_us + step_s * 1000000, session=2)
        self.assertIn("clock_jumps=1", camera.log_text())

    def test_clock_jumps_back(self):
        self.check_step(-30)

    def test_clock_jumps_ahead(self):
        self.check_step(5)


if __name__ == "__main__":
    unittest.main()
