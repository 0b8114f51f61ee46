"""Proof of time, files: each frame's UTC is that of the picture whose number it carries, in every container."""
import os
import subprocess
import tempfile
import unittest

import cells
import worker_pb2
from worker import Camera

COUNT, FPS = 50, 10
START_US = 1795420000000000
X264 = ("libx264", ("-preset", "veryfast", "-g", "20", "-bf", "3", "-sc_threshold", "0"))
X264_PLAIN = ("libx264", ("-preset", "ultrafast", "-g", "20", "-bf", "0"))
X265 = ("libx265", ("-preset", "ultrafast", "-g", "20", "-x265-params", "bframes=2:log-level=none:pools=none"))
MPEG4 = ("mpeg4", ("-q:v", "3", "-g", "20", "-bf", "2"))
MJPEG = ("mjpeg", ("-q:v", "3"))
VP9 = ("libvpx-vp9", ("-deadline", "realtime", "-cpu-used", "8", "-g", "20", "-b:v", "400k"))
AV1 = ("libaom-av1", ("-usage", "realtime", "-cpu-used", "8", "-g", "20", "-b:v", "400k"))
UNEVEN = "settb=1/90000,setpts='(N*0.1+0.03*mod(N*7\\,3))*90000'"  # seconds of picture N


def uneven_us(number):
    return number * 100000 + 30000 * (number * 7 % 3)


class Test(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="when-cells-")
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def encode(self, name, codec, **options):
        return cells.encode(self.path(name), COUNT, codec[0], FPS, codec[1], **options)

    def frames(self, path, **setup):
        """[(number, FrameInfo)] of all frames of a file, and how it ended."""
        camera = Camera()
        self.addCleanup(camera.close)
        camera.keep_pixels = True
        values = dict(url=path, start_utc_us=START_US, start_utc_err_us=1000, fps_min=60, fps_base=60, fps_max=60)
        values.update(setup)
        camera.setup(**values)
        camera.credit(10000)
        end = camera.wait(lambda m: m.HasField("end"), 60).end
        self.assertFalse(end.failed, end.reason)
        self.assertEqual(camera.wait_exit(), 0)
        self.log = camera.log_text()
        return [(cells.read(pixels, f.width, f.height), f) for f, pixels in camera.frames]

    def check(self, path, first=0, count=COUNT, us_of=lambda n: n * 1000000 // FPS, skipped=0, **setup):
        """Every picture from `first` on came once, in order, each with its own time."""
        frames = self.frames(path, **setup)
        numbers = [number for number, _ in frames]
        self.assertEqual(numbers, sorted(set(numbers)))
        self.assertEqual(numbers[0], first)
        self.last = numbers[-1]
        self.assertGreaterEqual(len(numbers), count - first - skipped)
        for number, frame in frames:
            truth_us = START_US + us_of(number) - us_of(first)
            # Far below a frame's period: a picture taken for its neighbour is 100 ms off.
            self.assertLessEqual(abs(frame.utc_us - truth_us), max(2000, frame.utc_err_us), f"picture {number}")

    # --- containers and codecs ---

    def test_mp4_h264_bframes(self):
        self.check(self.encode("a.mp4", X264))

    def test_mp4_h265(self):
        self.check(self.encode("a.mp4", X265, muxing=("-tag:v", "hvc1")))

    def test_mkv_h265_bframes(self):
        self.check(self.encode("a.mkv", X265))

    def test_mkv_h264_bframes(self):
        self.check(self.encode("a.mkv", X264))

    def test_avi_h264(self):
        self.check(self.encode("a.avi", X264_PLAIN))

    def test_avi_mpeg4_bframes(self):
        self.check(self.encode("a.avi", MPEG4))

    def test_avi_mjpeg(self):
        self.check(self.encode("a.avi", MJPEG))

    def test_mp4_mpeg4(self):
        self.check(self.encode("a.mp4", MPEG4))

    def test_ts_h264_bframes(self):
        self.check(self.encode("a.ts", X264))

    def test_ts_h265(self):
        self.check(self.encode("a.ts", X265))

    def test_webm_vp9(self):
        self.check(self.encode("a.webm", VP9))

    def test_webm_av1(self):
        if subprocess.run(["gst-inspect-1.0", "--exists", "av1dec"]).returncode and subprocess.run(
                ["gst-inspect-1.0", "--exists", "dav1ddec"]).returncode:
            self.skipTest("no AV1 decoder is installed")
        self.check(self.encode("a.webm", AV1))

    def test_rotated_mp4(self):
        """Stored turned, with a note by how much to turn it back (to the left, as ffmpeg counts): it comes upright."""
        for degrees, turned in ((90, "transpose=1"), (180, "hflip,vflip"), (270, "transpose=2")):
            self.check(cells.note_turn(self.encode("a.mp4", X264, filters=turned), degrees))

    # --- what containers do to time ---

    def test_uneven_mp4(self):
        self.check(self.encode("a.mp4", X264, filters=UNEVEN, muxing=("-video_track_timescale", "90000")), us_of=uneven_us)

    def test_uneven_mkv(self):
        self.check(self.encode("a.mkv", X264, filters=UNEVEN), us_of=uneven_us)

    def test_uneven_ts(self):
        self.check(self.encode("a.ts", X264, filters=UNEVEN), us_of=uneven_us)

    def test_first_pts_mkv(self):
        self.check(self.encode("a.mkv", X264, muxing=("-output_ts_offset", "12.5")))

    def test_first_pts_ts(self):
        self.check(self.encode("a.ts", X264, muxing=("-output_ts_offset", "3700.04")))

    def test_first_pts_mp4_delay_in_the_edit_list(self):
        self.check(self.encode("a.mp4", X264, muxing=("-output_ts_offset", "2.5")))

    def test_wrap_of_33_bits(self):
        """2^33 ticks of 90 kHz are 95443.7 s: the clock starts anew in the middle."""
        self.check(self.encode("a.ts", X264, muxing=("-output_ts_offset", "95440.9", "-muxdelay", "0.1")))

    def test_edit_list_cuts_into_a_group(self):
        """Copied from 1.5 s on: the key frame before is in the file and hidden by the edit list.

        GStreamer's demuxer stops such a file early: that is said, and what comes is at its right time."""
        whole = self.encode("a.mp4", X264)
        part = cells.remux(self.path("b.mp4"), "-ss", "1.5", "-i", whole, "-c", "copy")
        self.check(part, first=15, skipped=9)
        if self.last < COUNT - 5:
            self.assertIn("its last", self.log)

    def test_spans_of_fragments(self):
        """Fragments that begin in the middle of a group of pictures, as in our recordings, read from anywhere."""
        path = self.encode("a.mp4", X264, muxing=("-movflags", "frag_keyframe+empty_moov+default_base_moof",
                                                  "-frag_duration", "700000"))
        file = worker_pb2.RecordingFile(path=path, start_us=START_US, start_err_us=1000, end_us=START_US + 5000000,
                                        utc_source=worker_pb2.UTC_SOURCE_CONFIG)
        for from_us, fps in ((0, 2), (2500000, 2), (3000000, 60)):
            frames = self.frames("", start_utc_us=0, span_start_us=START_US + from_us, span_end_us=START_US + 5000000,
                                 files=[file], fps_min=fps, fps_base=fps, fps_max=fps)
            self.assertGreaterEqual(len(frames), (5000000 - from_us) * min(fps, FPS) // 1000000)
            for number, frame in frames:
                self.assertEqual(frame.utc_us - START_US, number * 1000000 // FPS)
                self.assertGreaterEqual(frame.utc_us - START_US, from_us)

    def test_fragmented_mp4(self):
        self.check(self.encode("a.mp4", X264, muxing=("-movflags", "frag_keyframe+empty_moov+default_base_moof")))

    # --- where UTC comes from ---

    def test_utc_by_name(self):
        path = self.encode("gate_20261123T084500.250Z.ts", X264_PLAIN)
        frames = self.frames(path, start_utc_us=0)
        for number, frame in frames:
            self.assertEqual(frame.utc_source, 3)
            self.assertLessEqual(abs(frame.utc_us - 1795423500250000 - number * 100000), frame.utc_err_us)

    def test_utc_by_file(self):
        path = self.encode("a.mkv", X264_PLAIN, muxing=("-metadata", "creation_time=2026-11-23T08:45:00.5Z"))
        for number, frame in self.frames(path, start_utc_us=0):
            self.assertEqual(frame.utc_source, 2)
            self.assertLessEqual(abs(frame.utc_us - 1795423500500000 - number * 100000), frame.utc_err_us)


if __name__ == "__main__":
    unittest.main()
