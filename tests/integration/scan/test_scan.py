"""whenscan as users run it: right answers to right input, one line with the remedy to wrong input, sysexits codes."""
import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

EX_USAGE, EX_DATAERR, EX_NOINPUT = 64, 65, 66
QUESTION = "When does a red car drive past?"
ARGS = None


def run(*args, model=None, question=QUESTION):
    command = [ARGS.whenscan, "--model", model or ARGS.model, *args]
    if question is not None:
        command += ["--question", question]
    environment = dict(os.environ, LC_ALL="C.UTF-8")
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)


def write_npy(path, kind, shape, data):
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data)


def npy_shape(path):
    with open(path, "rb") as file:
        magic = file.read(10)
        assert magic[:6] == b"\x93NUMPY", path
        header = file.read(struct.unpack("<H", magic[8:10])[0]).decode()
    # pylint: disable-next=eval-used
    header = eval(header, {"__builtins__": {}}, {"False": False, "True": True})
    return header["descr"], header["shape"]


class Scan(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="whenscan-test-")

    def tearDown(self):
        shutil.rmtree(self.dir)

    def path(self, name):
        return os.path.join(self.dir, name)

    def refused(self, code, *args, words=(), **kwargs):
        result = run(*args, **kwargs)
        self.assertEqual(result.returncode, code, f"{args}: {result.stderr}")
        lines = result.stderr.splitlines()
        self.assertEqual(len(lines), 1, f"{args}: {result.stderr}")
        self.assertTrue(lines[0].startswith("whenscan: "), lines[0])
        for word in words:
            self.assertIn(word, lines[0])
        return result

    # --- right input ---

    def test_answers(self):
        """JSON and text say the same; what is absent is said to be absent."""
        result = run("--video", ARGS.video, "--json", "--question", "When does a yellow car drive past?")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        found = json.loads(result.stdout)
        self.assertTrue(found)
        for a in found:
            self.assertEqual(set(a) - {"start_utc", "end_utc", "utc_error_s"},
                             {"question", "start_time", "end_time", "description", "start_s", "end_s", "start_error_s",
                              "end_error_s", "error_s", "confidence"})
            self.assertTrue(0 <= a["start_s"] <= a["end_s"] <= 61 and 0 < a["confidence"] <= 1, a)
        text = run("--video", ARGS.video, "--question", "When does a yellow car drive past?").stdout
        for a in found:
            self.assertIn(f"{a['start_time']} ± ", text)
            self.assertIn(f".. {a['end_time']} ± ", text)
        if not any("yellow" in a["question"] for a in found):
            self.assertIn("No: not in what was examined: When does a yellow car drive past?", text)
        self.assertRegex(text, r"Examined: 00:00\.00 \.\. 0[01]:[0-9.]+, 1[0-9]{2} frames \(2 a second\), [45] windows")

    def test_utc(self):
        """--start gives UTC and its error counts."""
        args = ("--video", ARGS.video, "--start", "2026-01-05T06:30:00Z", "--start-error", "3", "--json")
        found = json.loads(run(*args).stdout)
        self.assertTrue(found)
        for a in found:
            seconds = int(a["start_utc"][14:16]) * 60 + float(a["start_utc"][17:-1]) - 1800
            self.assertAlmostEqual(seconds, a["start_s"], delta=0.002)
            self.assertAlmostEqual(a["utc_error_s"], a["error_s"] + 3, delta=0.002)

    def test_questions_do_not_disturb_each_other(self):
        """Asked together or alone: the same."""
        def told(*questions):
            args = [word for question in questions for word in ("--question", question)]
            return json.loads(run("--video", ARGS.video, "--json", *args, question=None).stdout)
        door, lamp = "When is the door open?", "When is the lamp on?"
        both = told(door, lamp)
        self.assertTrue(both)
        self.assertEqual([a for a in both if a["question"] == door], told(door))
        self.assertEqual([a for a in both if a["question"] == lamp], told(lamp))

    def arrays(self, times=(0, 0.5, 1.25, 2), height=56, width=112, kind="|u1"):
        count = len(times)
        write_npy(self.path("frames.npy"), kind, (count, height, width, 3), bytes(count * height * width * 3))
        write_npy(self.path("pts.npy"), "<f8", (count,), struct.pack(f"<{count}d", *times))
        return "--frames", self.path("frames.npy"), "--pts", self.path("pts.npy")

    def test_arrays(self):
        """Unevenly spaced frames; what the model saw comes out as arrays."""
        out = {name: self.path(name + ".npy") for name in ("logits", "positions", "ids")}
        args = [word for name, path in out.items() for word in ("--" + name, path)]
        result = run(*self.arrays(), *args, "--json", "--dtype", "f32")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(json.loads(result.stdout), [])
        logits, positions, ids = npy_shape(out["logits"]), npy_shape(out["positions"]), npy_shape(out["ids"])
        self.assertEqual((logits[0], len(logits[1])), ("<f4", 1))
        self.assertEqual(positions, ("<i4", (3, ids[1][0])))
        self.assertEqual(ids[0], "<i4")

    def test_array_sampling(self):
        text = run(*self.arrays([k / 4 for k in range(16)]), "--fps", "1").stdout
        self.assertIn(" 4 frames (", text)
        text = run(*self.arrays([k / 4 for k in range(16)])).stdout
        self.assertIn(" 16 frames (", text)
        text = run(*self.arrays(height=120, width=200)).stdout  # resized
        self.assertIn(" 4 frames (", text)

    # --- wrong input ---

    def test_files(self):
        self.refused(EX_NOINPUT, "--video", "/nonexistent/film.mp4", words=("/nonexistent/film.mp4",))
        self.refused(EX_NOINPUT, "--video", ARGS.video, model="/nonexistent/model", words=("/nonexistent/model",))
        with open(self.path("notes.mp4"), "w", encoding="ascii") as file:
            file.write("no video at all\n" * 1000)
        self.refused(EX_DATAERR, "--video", self.path("notes.mp4"), words=("notes.mp4",))
        with open(self.path("empty.mp4"), "w", encoding="ascii"):
            pass
        self.refused(EX_DATAERR, "--video", self.path("empty.mp4"), words=("empty.mp4",))

    def test_truncated(self):
        with open(ARGS.video, "rb") as file:
            data = file.read()
        for share in (0.1, 0.5, 0.97):
            with open(self.path("cut.mp4"), "wb") as file:
                file.write(data[:int(len(data) * share)])
            self.refused(EX_DATAERR, "--video", self.path("cut.mp4"), words=("cut.mp4",))

    def test_models(self):
        def damaged(change):
            copy = self.path("model")
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(ARGS.model, copy, copy_function=shutil.copyfile)
            os.chmod(copy, 0o755)
            change(copy)
            return copy

        def truncate(name, share):
            def change(copy):
                path = os.path.join(copy, name)
                os.truncate(path, int(os.path.getsize(path) * share))
            return change
        weights = next(n for n in os.listdir(ARGS.model) if n.endswith(".safetensors"))
        for name, share in ((weights, 0.5), (weights, 0), ("config.json", 0.5), ("config.json", 0), ("tokenizer.json", 0.5)):
            self.refused(EX_DATAERR, "--video", ARGS.video, model=damaged(truncate(name, share)), words=(name,))
        for name in (weights, "config.json"):
            self.refused(EX_NOINPUT, "--video", ARGS.video, model=damaged(lambda c, n=name: os.unlink(os.path.join(c, n))))

    def test_context(self):
        """A window that the model's context cannot hold."""
        copy = self.path("model")
        shutil.copytree(ARGS.model, copy, copy_function=shutil.copyfile)
        os.chmod(copy, 0o755)
        with open(os.path.join(copy, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
        config.get("text_config", config)["max_position_embeddings"] = 64
        with open(os.path.join(copy, "config.json"), "w", encoding="utf-8") as file:
            json.dump(config, file)
        out = self.path("logits.npy")
        result = self.refused(EX_DATAERR, *self.arrays([k / 2 for k in range(32)]), "--logits", out, model=copy,
                              words=("context",))
        self.assertEqual(result.stdout, "")
        self.assertFalse(os.path.exists(out))

    def test_arrays_wrong(self):
        self.refused(EX_DATAERR, *self.arrays(height=2, width=500), words=("frames.npy", "500 x 2", "200"))
        self.refused(EX_DATAERR, *self.arrays(times=(0, 1, 0.5)), words=("pts.npy", "element 2"))
        self.refused(EX_DATAERR, *self.arrays(times=(0, float("nan"))), words=("pts.npy", "element 1"))
        args = self.arrays()
        write_npy(self.path("pts.npy"), "<f8", (2,), bytes(16))
        self.refused(EX_DATAERR, *args, words=("pts.npy", "4 frames"))
        args = self.arrays()
        write_npy(self.path("frames.npy"), "<f4", (4, 2, 2, 3), bytes(4 * 2 * 2 * 3 * 4))
        self.refused(EX_DATAERR, *args, words=("frames.npy", "uint8"))
        write_npy(self.path("frames.npy"), "|u1", (400, 56, 112, 3), bytes(100))
        self.refused(EX_DATAERR, *args, words=("frames.npy",))
        with open(self.path("frames.npy"), "wb") as file:
            file.write(b"\x93NUM")
        self.refused(EX_DATAERR, *args, words=("frames.npy",))

    def test_usage(self):
        video = ("--video", ARGS.video)
        self.refused(EX_USAGE, *video, question=None, words=("--question",))
        self.refused(EX_USAGE, words=("--video",))
        self.refused(EX_USAGE, *video, *self.arrays(), words=("--frames",))
        self.refused(EX_USAGE, "--frames", self.path("frames.npy"), words=("--pts",))
        self.refused(EX_USAGE, *video, question="when " * 20000, words=("100000 bytes",))
        self.refused(EX_USAGE, *video, question=" ")
        self.refused(EX_USAGE, *video, "--fps", "many", words=("--fps",))
        self.refused(EX_USAGE, *video, "--fps", "-1", words=("--fps",))
        self.refused(EX_USAGE, *video, "--overlap", "12", words=("overlap",))
        self.refused(EX_USAGE, *video, "--window", "0", words=("--window",))
        self.refused(EX_USAGE, *video, "--start", "noon", words=("--start",))
        self.refused(EX_USAGE, *video, "--dtype", "int3", words=("--dtype",))
        self.refused(EX_USAGE, *video, "--frobnicate", words=("--frobnicate",))
        self.refused(EX_USAGE, *video, "more", words=("more",))
        self.assertEqual(run("--help").returncode, 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for option in ("whenscan", "model", "video"):
        parser.add_argument("--" + option, required=True)
    ARGS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest])
