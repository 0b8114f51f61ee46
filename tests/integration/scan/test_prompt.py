"""whenscan --prompt against reference vectors, from the command line: ids, position ids, logits and greedy tokens of
every prompt of 07, the rendering of 02 with pictures between texts, and what is refused."""
import argparse
import glob
import itertools
import json
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib

EX_USAGE, EX_DATAERR, EX_NOINPUT, EX_CANTCREAT, EX_IOERR = 64, 65, 66, 73, 74
MOST_TOKENS = 2000  # of a case of 02: pictures of that many tokens are made for it
FEWEST_PIXELS = 3136  # smaller pictures are enlarged
ARGS = None


def run(model, *args):
    return subprocess.run([ARGS.whenscan, "--model", model, *args], capture_output=True, text=True, timeout=120,
                          env=dict(os.environ, LC_ALL="C.UTF-8"), check=False)


def write_npy(path, kind, shape, data):
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data)


def read_npy(path):
    """Shape and a flat list."""
    with open(path, "rb") as file:
        data = file.read()
    n = struct.unpack("<H", data[8:10])[0]
    header = data[10:10 + n].decode()
    shape = tuple(int(k) for k in re.search(r"\(([^)]*)\)", header).group(1).split(",") if k.strip())
    code = {"<i4": "i", "<f4": "f", "|u1": "B", "<f8": "d"}[re.search(r"'descr': '([^']*)'", header).group(1)]
    data = data[10 + n:]
    return shape, list(struct.unpack(f"<{len(data) // struct.calcsize(code)}{code}", data))


def write_png(path, height, width, rgb):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) & 0xffffffff)
    rows = b"".join(b"\0" + rgb[3 * width * y:3 * width * (y + 1)] for y in range(height))
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
                   + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b""))


def system_args(model, rendered):
    """--system, unless the template brings that text itself."""
    text = re.match(r"<\|im_start\|>system\n(.*?)<\|im_end\|>", rendered, re.S).group(1)
    with open(model + "/chat_template.json", encoding="utf-8") as file:
        own = f"system\n{text}<|im_end|>" in json.load(file)["chat_template"]
    return [] if own else ["--system", text]


def user_text(rendered):
    return re.search(r"<\|im_start\|>user\n(?:<\|vision_start\|><\|(?:image|video)_pad\|><\|vision_end\|>)?(.*)<\|im_end\|>"
                     r"\n<\|im_start\|>assistant\n$", rendered, re.S).group(1)


class Prompt(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="whenscan-prompt-")
        self.made = 0

    def tearDown(self):
        shutil.rmtree(self.dir)

    def path(self, name):
        return os.path.join(self.dir, name)

    def image(self, height, width, rgb):
        self.made += 1
        path = self.path(f"{self.made}.png")
        write_png(path, height, width, rgb)
        return ["--image", path]

    def video(self, frames, seconds):
        self.made += 1
        path = self.path(f"{self.made}.npy")
        write_npy(path, "<f8", (len(seconds),), struct.pack(f"<{len(seconds)}d", *seconds))
        return ["--frames", frames, "--pts", path]

    def grey(self, frames, height, width):
        path = self.path(f"grey{self.made}.npy")
        write_npy(path, "|u1", (frames, height, width, 3), bytes([99]) * (frames * height * width * 3))
        return path

    def arrays(self, model, *args):
        """What the model saw, and the result's object."""
        names = ("ids", "positions", "logits")
        out = [word for name in names for word in ("--" + name, self.path(name + ".npy"))]
        result = run(model, *args, *out, "--json")
        self.assertEqual((result.returncode, result.stderr), (0, ""), args)
        return {name: read_npy(self.path(name + ".npy")) for name in names}, json.loads(result.stdout)

    def compare(self, folder, seen, said):
        self.assertEqual(seen["ids"][1], read_npy(folder + "/input_ids_i32.npy")[1], folder)
        self.assertEqual(seen["positions"], read_npy(folder + "/position_ids_i32.npy"), folder)
        at = read_npy(folder + "/logit_positions_i32.npy")[1]
        if at[-1] == len(seen["ids"][1]) - 1:
            shape, logits = read_npy(folder + "/logits_f32.npy")
            want = logits[-shape[-1]:]
            worst = max(abs(a - b) for a, b in zip(seen["logits"][1], want, strict=True))
            # Resizing may be a level off in one value of a thousand: float rounding at ties.
            self.assertLess(worst, 5e-4 * max(map(abs, want)), folder)
        with open(folder + "/greedy_f32.jsonl", encoding="utf-8") as file:
            steps = [json.loads(line) for line in file]
        n = min(len(steps), 16)
        self.assertEqual(said["ids"][:n], [step["id"] for step in steps[:n]], folder)

    def test_reference(self):
        """Every prompt of 07 as words and pictures, and once more as raw text."""
        folders = sorted(os.path.dirname(p) for p in glob.glob(ARGS.golden + "/07_llm/*/*/prompt.json"))
        self.assertTrue(folders)
        for folder in folders:
            model = f"{ARGS.golden}/00_checkpoints/{folder.split('/')[-2]}"
            with open(folder + "/prompt.json", encoding="utf-8") as file:
                prompt = json.load(file)
            pictures = []
            if prompt.get("pixel_values"):
                frames = f"{ARGS.golden}/{os.path.dirname(prompt['pixel_values'])}/frames_u8.npy"
                shape, rgb = read_npy(frames)
                if prompt["kind"] == "image":
                    pictures = self.image(shape[1], shape[2], bytes(rgb))
                else:
                    pictures = self.video(frames, [i * prompt["second_per_grid"] / 2 for i in range(shape[0])])
            args = [*pictures, "--dtype", "f32", "--max-tokens", "16"]
            self.compare(folder, *self.arrays(model, *args, *system_args(model, prompt["rendered"]), "--prompt",
                                              user_text(prompt["rendered"])))
            self.compare(folder, *self.arrays(model, *args, "--prompt", prompt["rendered"], "--raw-prompt"))

    def test_rendering(self):
        """The cases of 02 that a command line can say: one user's turn, pictures and texts mixed."""
        model = sorted(glob.glob(ARGS.golden + "/00_checkpoints/*"))[0]
        done = 0
        with open(ARGS.golden + "/02_chat_template/cases.jsonl", encoding="utf-8") as file:
            cases = [json.loads(line) for line in file]
        for case in cases:
            messages, args = list(case["messages"]), []
            if case["options"] != {"add_generation_prompt": True} or len(case["ids_expanded"]) > MOST_TOKENS:
                continue
            if any(h * w * 14 * 14 < FEWEST_PIXELS for _, h, w in case["grids_thw"]):
                continue
            if messages[0]["role"] == "system" and isinstance(messages[0]["content"], str):
                args += ["--system", messages.pop(0)["content"]]
            if len(messages) != 1 or messages[0]["role"] != "user":
                continue
            content = messages[0]["content"]
            parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
            texts = [part for part in parts if "text" in part]
            if not texts or (len(texts) == 1 and "text" not in parts[-1]):
                continue
            grids = list(case["grids_thw"])
            for part in parts:
                if "text" in part:
                    args += ["--prompt", part["text"]]
                    continue
                t, h, w = grids.pop(0)
                if part["type"] == "image":
                    args += self.image(14 * h, 14 * w, bytes([99]) * (14 * h * 14 * w * 3))
                else:
                    args += self.video(self.grey(2 * t, 14 * h, 14 * w), [i / 2 for i in range(2 * t)])
            seen, said = self.arrays(model, *args, "--max-tokens", "0")
            self.assertEqual(seen["ids"][1], case["ids_expanded"], case["messages"])
            self.assertEqual((said["ids"], said["prompt_tokens"]), ([], len(case["ids_expanded"])))
            done += 1
        self.assertGreaterEqual(done, 3)

    def test_interleaved(self):
        """Several images and videos between texts: the same as the whole text written out, pictures in their order."""
        model = sorted(glob.glob(ARGS.golden + "/00_checkpoints/*"))[0]
        image = [self.image(56, 56 + 28 * k, bytes([40 * k]) * (56 * (56 + 28 * k) * 3)) for k in range(3)]
        video = [self.video(self.grey(2 + 2 * k, 56, 84), [i / 2 for i in range(2 + 2 * k)]) for k in range(2)]
        media = [image[0], video[0], image[1], video[1], image[2]]
        texts = ["first ", " then ", " and ", " or ", "", " when?"]
        mixed = [word for k, picture in enumerate(media) for word in (*(["--prompt", texts[k]] if texts[k] else []), *picture)]
        seen, _ = self.arrays(model, "--system", "S", *mixed, "--prompt", texts[5], "--max-tokens", "0")
        pads = [f"<|vision_start|><|{kind}_pad|><|vision_end|>" for kind in ("image", "video", "image", "video", "image")]
        whole = "".join(text + pad for text, pad in zip(texts, [*pads, ""]))
        raw = f"<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n{whole}<|im_end|>\n<|im_start|>assistant\n"
        again, _ = self.arrays(model, *(word for picture in media for word in picture), "--prompt", raw, "--raw-prompt",
                               "--max-tokens", "0")
        self.assertEqual(seen, again)
        with open(model + "/config.json", encoding="utf-8") as file:
            config = json.load(file)
        pads = [config[kind + "_token_id"] for kind in ("image", "video")]
        runs = [(pads.index(id), len(list(same))) for id, same in itertools.groupby(seen["ids"][1]) if id in pads]
        self.assertEqual(runs, [(0, 4), (1, 6), (0, 6), (1, 12), (0, 8)])
        other = [media[2], *media[1:2], media[0], *media[3:]]
        changed, _ = self.arrays(model, *(word for picture in other for word in picture), "--prompt", raw, "--raw-prompt",
                                 "--max-tokens", "0")
        self.assertNotEqual(seen["ids"], changed["ids"])

    def test_streamed_text(self):
        """Text is what --json has; a tight limit cuts it."""
        model = sorted(glob.glob(ARGS.golden + "/00_checkpoints/*"))[0]
        whole = json.loads(run(model, "--prompt", "gate?", "--max-tokens", "24", "--json").stdout)
        text = run(model, "--prompt", "gate?", "--max-tokens", "24").stdout
        self.assertEqual(text.rstrip("\n"), whole["text"].rstrip("\n"))
        self.assertIn(whole["end"], ("stop", "length"))
        other = json.loads(run(model, "--prompt", "gate?", "--max-tokens", "24", "--json",
                               "--repetition-penalty", "5").stdout)
        self.assertNotEqual(whole["ids"], other["ids"])

    def refused(self, code, *args, words=(), model=None):
        model = model or sorted(glob.glob(ARGS.golden + "/00_checkpoints/*"))[0]
        result = run(model, *args)
        self.assertEqual(result.returncode, code, f"{args}: {result.stderr}")
        self.assertEqual(result.stdout, "")
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)

    def test_refused(self):
        picture = self.image(56, 56, bytes(56 * 56 * 3))
        pad = "<|vision_start|><|image_pad|><|vision_end|>"
        self.refused(EX_USAGE, "--prompt", "x", "--question", "y", words=("not both",))
        self.refused(EX_USAGE, *picture, words=("--prompt",))
        self.refused(EX_USAGE, "--prompt", "x", "--prompt", "y", "--raw-prompt", words=("--raw-prompt",))
        self.refused(EX_USAGE, "--prompt", "x", "--system", "y", "--raw-prompt", words=("--system",))
        self.refused(EX_USAGE, "--prompt", "x", "--frames", "f.npy", words=("--pts",))
        self.refused(EX_USAGE, "--prompt", "x", "--pts", "f.npy", words=("--pts",))
        self.refused(EX_USAGE, *picture, "--question", "x", words=("--video",))
        self.refused(EX_DATAERR, "--prompt", "", "--raw-prompt", words=("empty",))
        self.refused(EX_DATAERR, *picture, "--prompt", "no place", "--raw-prompt", words=("0 places", "1 are given"))
        self.refused(EX_DATAERR, *picture, "--prompt", pad + pad, "--raw-prompt", words=("2 places", "1 are given"))
        self.refused(EX_DATAERR, *picture, "--prompt", pad.replace("image", "video"), "--raw-prompt",
                     words=(picture[1], "a video"))
        self.refused(EX_NOINPUT, "--image", "/nonexistent.png", "--prompt", "x", words=("/nonexistent.png",))
        with open(self.path("no.png"), "w", encoding="ascii") as file:
            file.write("no picture\n" * 99)
        self.refused(EX_DATAERR, "--image", self.path("no.png"), "--prompt", "x", words=("no.png",))
        self.refused(EX_CANTCREAT, "--prompt", "x", "--max-tokens", "0", "--logits", "/nonexistent/l.npy",
                     words=("/nonexistent/l.npy",))

    def test_differing_sizes(self):
        """A video whose pictures become others in the middle."""
        parts = []
        for size in ("160x120", "64x256"):
            part = self.path(size + ".ts")
            subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", f"testsrc=size={size}:rate=10:duration=2", "-c:v",
                            "libx264", "-bf", "0", "-pix_fmt", "yuv420p", part], check=True, timeout=60)
            with open(part, "rb") as file:
                parts.append(file.read())
        with open(self.path("both.ts"), "wb") as file:
            file.write(b"".join(parts))
        out = self.path("ids.npy")
        self.refused(EX_DATAERR, "--video", self.path("both.ts"), "--prompt", "x", "--ids", out,
                     words=("both.ts", "one size"))
        self.assertFalse(os.path.exists(out))

    def test_no_room(self):
        """What cannot be written to its end is not there, nor is a part of it under another name."""
        model = sorted(glob.glob(ARGS.golden + "/00_checkpoints/*"))[0]

        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
        result = subprocess.run([ARGS.whenscan, "--model", model, "--prompt", "x", "--max-tokens", "0", "--logits",
                                 self.path("l.npy")], capture_output=True, text=True, timeout=120, preexec_fn=limit,
                                check=False)
        self.assertEqual(result.returncode, EX_IOERR, result.stderr)
        self.assertRegex(result.stderr, r"^whenscan: \S*l\.npy: [^\n]+\n$")
        self.assertEqual(os.listdir(self.dir), [])

    def test_extreme_aspect(self):
        self.refused(EX_DATAERR, *self.image(2, 500, bytes(3000)), "--prompt", "x", words=("1.png", "500 x 2", "200"))
        self.refused(EX_DATAERR, *self.video(self.grey(2, 3, 900), [0, 1]), "--prompt", "x", words=("900 x 3", "200"))

    def test_prompt_longer_than_the_context(self):
        """Refused by its size, before a picture is encoded; nothing is written."""
        copy = self.path("model")
        model = sorted(glob.glob(ARGS.golden + "/00_checkpoints/*"))[0]
        shutil.copytree(model, copy, copy_function=shutil.copyfile)
        os.chmod(copy, 0o755)
        with open(copy + "/config.json", encoding="utf-8") as file:
            config = json.load(file)
        config.get("text_config", config)["max_position_embeddings"] = 100
        with open(copy + "/config.json", "w", encoding="utf-8") as file:
            json.dump(config, file)
        for args in (["--prompt", "gate " * 200], ["--prompt", "x", *self.image(560, 560, bytes(560 * 560 * 3))]):
            out = self.path("ids.npy")
            self.refused(EX_DATAERR, *args, "--ids", out, model=copy, words=("tokens", "context is 100"))
            self.assertFalse(os.path.exists(out))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for option in ("whenscan", "golden"):
        parser.add_argument("--" + option, required=True)
    ARGS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest])
