"""What cameras and networks do wrong: each is survived, counted, and said in one line with the camera's name."""
import os
import signal
import socket
import subprocess
import unittest

import cells
import test_sources
from worker import is_frame, is_state, usage


def is_health(condition):
    return lambda m: m.HasField("health") and condition(m.health)


class Test(test_sources.Streams):
    def lines(self, camera, word):
        return [line for line in camera.log_text().splitlines() if word in line and "camera=camera/gate/1" in line]

    def test_killed_again_and_again(self):
        """The server dies and comes back: frames go on each time, from a new session, at their right time, and nothing
        stays behind (tests/prove/reconnects.py has 50 times)."""
        server, camera = self.server("h264"), self.camera()
        port = int(server.url.split(":")[2].split("/")[0])
        camera.setup(url=server.url, fps_min=60, fps_base=60, fps_max=60, retry_us=200000)
        used = []
        for n in range(1, 9):
            first_us = int(server.line("first-frame-utc-us "))
            session = camera.wait(lambda m: m.HasField("frame") and (n == 1 or m.frame.session > session), 30).frame.session
            at_us = camera.frames[-1][0].pts_us
            camera.wait(lambda m: m.HasField("frame") and m.frame.pts_us >= at_us + 800000)
            self.check(camera, first_us, session)
            used.append(usage(camera.process.pid)[:2])
            server.stop()
            camera.wait(is_state("connecting", "next try"))
            server = self.server("h264", port=port)
        health = camera.wait(is_state("running")).health
        self.assertGreaterEqual(health.reconnects, 8)
        self.assertEqual(health.format_changes, 0)
        for what in zip(*used):  # threads, descriptors
            self.assertLessEqual(max(what[4:]), max(what[:4]), used)

    def test_hangs_up_amid_losses(self):
        """An end of the stream while packets are waited for, which stops GStreamer's jitter buffer for ever."""
        server, camera = self.server("h264", "--lose", "7", "--close-after", "0.3"), self.camera()
        camera.setup(url=server.url, fps_min=60, fps_base=60, fps_max=60, retry_us=50000)
        camera.wait(is_health(lambda h: h.reconnects >= 20), 60)
        self.assertNotIn("watchdog", camera.log_text())

    def test_another_camera_in_its_place(self):
        """Codec and size change between two connections."""
        server, camera = self.server("h264"), self.camera()
        port = int(server.url.split(":")[2].split("/")[0])
        camera.setup(url=server.url, retry_us=200000)
        camera.wait(is_health(lambda h: h.codec == "H264" and h.state == "running"))
        server.stop()
        camera.wait(is_state("connecting", "next try"))
        self.server("jpeg", port=port)
        health = camera.wait(is_health(lambda h: h.codec == "JPEG" and h.state == "running")).health
        self.assertEqual(health.format_changes, 1)
        self.assertEqual(len(self.lines(camera, "format_changes=1")), 1)

    def change_of_size(self, first, second):
        """One MPEG-TS: pictures of another size from 3 s on."""
        both = self.path("both.ts")
        with open(both, "wb") as file:
            for i, options in enumerate((first, second)):
                part = cells.encode(self.path(f"{i}.ts"), 40, "libx264", 10, (
                    "-preset", "ultrafast", "-g", "10", "-bf", "0", *options), first=40 * i,
                    muxing=("-output_ts_offset", str(4 * i), "-muxdelay", "0"))
                with open(part, "rb") as data:
                    file.write(data.read())
        return both

    def test_size_changes(self):
        both = self.change_of_size((), ("-vf", "scale=672:336:flags=neighbor"))
        camera = self.camera()
        camera.setup(url=self.play(both, "h264").url, fps_min=60, fps_base=60, fps_max=60)
        camera.wait(is_health(lambda h: h.format_changes == 1 and h.width == 672))
        camera.wait(lambda m: m.HasField("frame") and m.frame.width == 672)
        camera.wait(lambda m: m.HasField("frame") and m.frame.pts_us >= 6000000)
        numbers = [cells.read(p, f.width, f.height) for f, p in camera.frames]
        self.assertEqual(numbers, sorted(set(numbers)))
        self.assertGreater(numbers[-1], 45)
        self.assertEqual(len(self.lines(camera, "format_changes=1")), 1)

    def test_turned(self):
        """A camera that is told to turn its picture by 90 degrees."""
        both = self.change_of_size((), ("-vf", "transpose=1"))
        camera = self.camera()
        camera.setup(url=self.play(both, "h264").url, fps_min=60, fps_base=60, fps_max=60)
        camera.wait(lambda m: m.HasField("frame") and (m.frame.width, m.frame.height) == (cells.WIDTH, cells.HEIGHT))
        camera.wait(is_health(lambda h: h.format_changes == 1 and h.width == cells.HEIGHT))
        camera.wait(lambda m: m.HasField("frame") and (m.frame.width, m.frame.height) == (cells.HEIGHT, cells.WIDTH))
        self.assertEqual(len(self.lines(camera, "format_changes=1")), 1)

    def test_corrupt_packets(self):
        server, camera = self.server("h264", "--corrupt", "3"), self.camera()
        camera.setup(url=server.url, fps_min=60, fps_base=60, fps_max=60)
        health = camera.wait(is_health(lambda h: h.decoded > 40), 30).health
        self.assertEqual(health.state, "running")  # the decoder hides what is wrong: nobody can count it

    def test_lost_packets(self):
        server, camera = self.server("h264", "--lose", "11"), self.camera()
        camera.setup(url=server.url, fps_min=60, fps_base=60, fps_max=60, transport="udp")
        health = camera.wait(is_health(lambda h: h.lost_packets > 3 and h.state == "running"), 30).health
        # A key frame every ten pictures: one in eleven is lost, and those after it lean on it.
        self.assertGreater(health.damaged, health.lost_packets)
        self.assertLess(health.damaged, health.decoded)
        for word in (" lost_packets=", " damaged="):
            self.assertEqual(len(self.lines(camera, word)), 1)

    def test_stalls(self):
        server, camera = self.server("h264"), self.camera()
        camera.setup(url=server.url, stall_us=1500000, retry_us=200000)
        camera.wait(is_frame(1))
        server.process.send_signal(signal.SIGSTOP)
        health = camera.wait(is_state("stalled", "next try")).health
        self.assertEqual(health.stalls, 1)
        self.assertEqual(len(self.lines(camera, "no data for")), 1)
        server.process.send_signal(signal.SIGCONT)
        camera.wait(lambda m: m.HasField("frame") and m.frame.session > 1, 30)

    def test_password_is_not_hammered(self):
        """The wait grows from try to try, and says so."""
        server, camera = self.server("h264", "--user", "eve", "--password", test_sources.SECRET), self.camera()
        camera.setup(url=server.url, user="eve", password="wrong-horse")
        health = camera.wait(is_state("connecting", "next try")).health
        first = float(health.reason.split("next try in ")[1].split()[0])
        self.assertTrue(8 <= first <= 12, health.reason)
        health = camera.wait(is_health(lambda h: h.logins_refused == 2 and "next try" in h.reason), 30).health
        second = float(health.reason.split("next try in ")[1].split()[0])
        self.assertTrue(16 <= second <= 24, health.reason)
        self.assertEqual(len(self.lines(camera, "wrong user or password")), 2)

    def test_no_video_in_it(self):
        """A listener that speaks no RTSP, and one that never answers."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            camera = self.camera()
            camera.setup(url=f"rtsp://127.0.0.1:{silent.getsockname()[1]}/cam")
            camera.wait(is_state("connecting", "next try"), 30)

    def test_hardware_decoder_fails(self):
        """A stand-in for a broken VA-API driver: the decoder that ranks first fails on its first picture."""
        plugins = os.path.join(os.environ["WHEN_BUILD"], "tests", "plugins")
        server = self.server("h264")
        camera = self.camera(env=dict(os.environ, GST_PLUGIN_PATH=plugins, GST_REGISTRY=self.path("registry")))
        camera.setup(url=server.url)
        camera.wait(is_frame(), 30)
        health = camera.wait(is_state("running")).health
        self.assertNotEqual(health.decoder, "brokenhwdec")
        self.assertEqual(len(self.lines(camera, "decoder=brokenhwdec the hardware decoder fails")), 1)


if __name__ == "__main__":
    unittest.main()
