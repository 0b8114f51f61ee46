"""http: files, MJPEG and HLS, from a server of the test's own; passwords; where it says UTC comes from."""
import base64
import hashlib
import http.server
import os
import re
import subprocess
import threading

import cells
import test_sources
from worker import is_frame, is_state, worker_pb2

SECRET = test_sources.SECRET
LOGIN = "Basic " + base64.b64encode(f"eve:{SECRET}".encode()).decode()


def digest_is_right(header, method):
    """RFC 2617, MD5 with qop=auth."""
    def md5(*parts):
        return hashlib.md5(":".join(parts).encode()).hexdigest()
    said = dict(re.findall(r'(\w+)="?([^",]*)"?', header or ""))
    if not {"nonce", "nc", "cnonce", "qop", "uri", "response"} <= set(said):
        return False
    return said["response"] == md5(md5("eve", "camera", SECRET), said["nonce"], said["nc"], said["cnonce"], said["qop"],
                                   md5(method, said["uri"]))


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a folder; /login/... and /digest/... ask for a password; /mjpeg sends pictures without end."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        if self.path.startswith("/login/"):
            if self.headers.get("Authorization") != LOGIN:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                self.end_headers()
                return
            self.path = self.path[len("/login"):]
        if self.path.startswith("/digest/"):
            if not digest_is_right(self.headers.get("Authorization"), "GET"):
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Digest realm="camera", nonce="0123456789abcdef", qop="auth"')
                self.end_headers()
                return
            self.path = self.path[len("/digest"):]
        if self.path == "/mjpeg":
            self.stream()
        elif self.headers.get("Range"):
            self.send_range()
        else:
            super().do_GET()

    def end_headers(self):
        self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def send_range(self):
        begin, _, end = self.headers["Range"].removeprefix("bytes=").partition("-")
        with open(self.translate_path(self.path), "rb") as file:
            data = file.read()
        begin, end = int(begin), int(end) if end else len(data) - 1
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {begin}-{end}/{len(data)}")
        self.send_header("Content-Length", str(end + 1 - begin))
        self.end_headers()
        try:
            self.wfile.write(data[begin:end + 1])
        except OSError:
            pass

    def stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
        self.end_headers()
        stop, pictures = self.server.stop, self.server.pictures
        try:
            for i in range(600):
                jpeg = pictures[i % len(pictures)]
                self.wfile.write(b"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" %
                                 (len(jpeg), jpeg))
                if stop.wait(0.1):  # ten pictures a second, as a camera's own clock would
                    return
        except OSError:
            pass


class Test(test_sources.Streams):
    def serve(self):
        folder = self.folder.name

        def handler(*args):
            return Handler(*args, directory=folder)
        self.server_ = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server_.daemon_threads = True
        self.server_.stop = threading.Event()
        self.server_.pictures = []
        thread = threading.Thread(target=self.server_.serve_forever, daemon=True)
        thread.start()
        self.addCleanup(self.server_.server_close)
        self.addCleanup(self.server_.shutdown)
        self.addCleanup(self.server_.stop.set)
        return f"http://127.0.0.1:{self.server_.server_port}"

    def encode(self, name, *muxing):
        return cells.encode(self.path(name), 30, "libx264", 10, ("-preset", "ultrafast", "-g", "10"), muxing=muxing)

    def test_file(self):
        """Read once to its end, as fast as credit allows; each picture at its time."""
        self.encode("gate_20261123T084500.250Z.mp4", "-movflags", "+faststart")
        url = self.serve() + "/login/gate_20261123T084500.250Z.mp4"
        camera = self.camera()
        camera.setup(url=url, once=True, fps_min=60, fps_base=60, fps_max=60, user="eve", password=SECRET)
        camera.credit(1000)
        end = camera.wait(lambda m: m.HasField("end")).end
        self.assertFalse(end.failed, end.reason)
        self.assertEqual([cells.read(p, f.width, f.height) for f, p in camera.frames], list(range(30)))
        for number, (frame, _) in enumerate(camera.frames):
            self.assertEqual(frame.utc_us, 1795423500250000 + number * 100000)
        out = camera.log_text() + str(camera.messages)
        self.assertNotIn(SECRET, out)

    def serve_pictures(self):
        url = self.serve()
        cells.encode(self.path("p%02d.jpg"), 10, "mjpeg", 10, ("-q:v", "3"))
        for i in range(1, 11):
            with open(self.path(f"p{i:02d}.jpg"), "rb") as file:
                self.server_.pictures.append(file.read())
        return url

    def test_digest(self):
        camera = self.camera()
        camera.setup(url=self.serve_pictures() + "/digest/mjpeg", user="eve", password=SECRET)
        camera.wait(is_frame(), 30)
        self.no_secret(camera)

    def test_digest_wrong(self):
        camera = self.camera()
        camera.setup(url=self.serve() + "/digest/mjpeg", user="eve", password="wrong-horse")
        camera.wait(is_state("connecting", "wrong user or password"))
        self.no_secret(camera, "wrong-horse")

    def test_mjpeg(self):
        url, camera = self.serve_pictures(), self.camera()
        camera.setup(url=url + "/login/mjpeg", fps_min=60, fps_base=60, fps_max=60, user="eve", password=SECRET)
        # Not a number of seconds: on a busy machine the server, too, is late.
        camera.wait(lambda m: m.HasField("frame") and len(camera.frames) > 15, 30)
        health = camera.wait(is_state("running")).health
        self.assertEqual((health.codec, health.utc_source), ("JPEG", worker_pb2.UTC_SOURCE_ARRIVAL))
        numbers = [cells.read(p, f.width, f.height) for f, p in camera.frames]
        # Two that come in one breath have one time, and are one frame.
        self.assertLessEqual({(b - a) % 10 for a, b in zip(numbers, numbers[1:])}, {1, 2, 3})
        self.no_secret(camera)

    def test_wrong_password(self):
        camera = self.camera()
        camera.setup(url=self.serve() + "/login/mjpeg", user="eve", password="wrong-horse")
        health = camera.wait(is_state("connecting", "wrong user or password")).health
        self.assertEqual(health.sent, 0)
        self.no_secret(camera, "wrong-horse")

    def test_hls(self):
        source = self.encode("a.mp4")
        subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-i", source, "-c", "copy", "-f", "hls", "-hls_time", "1",
                        "-hls_list_size", "0", self.path("live.m3u8")], check=True)
        camera = self.camera()
        camera.setup(url=self.serve() + "/live.m3u8", fps_min=60, fps_base=60, fps_max=60)
        camera.wait(lambda m: m.HasField("frame") and m.frame.pts_us >= 1500000, 30)
        frames = camera.frames
        self.assertEqual({f.utc_source for f, _ in frames}, {worker_pb2.UTC_SOURCE_ARRIVAL})
        self.assertGreaterEqual(min(f.utc_err_us for f, _ in frames), 10000000)
        numbers = [cells.read(p, f.width, f.height) for f, p in frames]
        self.assertGreater(len(numbers), 3)
        for (frame, _), number in zip(frames, numbers):
            off_us = frame.pts_us - frames[0][0].pts_us - (number - numbers[0]) * 100000
            self.assertLessEqual(abs(off_us), 2000)


if __name__ == "__main__":
    import unittest
    unittest.main()
