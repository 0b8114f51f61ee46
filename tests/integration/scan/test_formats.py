"""One model in every layout in which checkpoints are published and saved: whenscan sees the same prompt and gives the same
logits; and what is damaged, missing, too much or of another kind is refused in one line that names it."""
import argparse
import glob
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

EX_DATAERR, EX_NOINPUT, EX_OSERR = 65, 66, 71
ARGS = None


def read_tensors(path):
    """Name -> (dtype, shape, bytes)."""
    with open(path, "rb") as file:
        data = file.read()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + n])
    header.pop("__metadata__", None)
    at = 8 + n
    return {name: (t["dtype"], t["shape"], data[at + t["data_offsets"][0]:at + t["data_offsets"][1]])
            for name, t in header.items()}


def write_tensors(path, tensors):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(t[2] for t in tensors.values()))


def floats(tensor):
    dtype, _, data = tensor
    if dtype == "F32":
        return struct.unpack(f"<{len(data) // 4}f", data)
    wide = b"".join(b"\0\0" + data[i:i + 2] for i in range(0, len(data), 2))  # bf16
    return struct.unpack(f"<{len(wide) // 4}f", wide)


def as_type(tensor, dtype):
    values = floats(tensor)
    return dtype, tensor[1], struct.pack(f"<{len(values)}{'f' if dtype == 'F32' else 'e'}", *values)


def newer_name(name):
    if name.startswith("visual."):
        return "model." + name
    return name.replace("model.", "model.language_model.", 1) if name.startswith("model.") else name


class Formats(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="whenscan-formats-")
        self.model = os.path.join(self.dir, "model")
        shutil.copytree(ARGS.model, self.model, copy_function=shutil.copyfile)
        os.chmod(self.model, 0o755)
        self.weights = self.path("model.safetensors")
        self.tensors = read_tensors(self.weights)

    def tearDown(self):
        shutil.rmtree(self.dir)

    def path(self, name):
        return os.path.join(self.model, name)

    def edit(self, name, change):
        with open(self.path(name), encoding="utf-8") as file:
            value = json.load(file)
        change(value)
        with open(self.path(name), "w", encoding="utf-8") as file:
            json.dump(value, file)

    def run_model(self, model, *args):
        return subprocess.run([ARGS.whenscan, "--model", model, "--prompt", "Wann fährt's? 12\n\n gate", "--max-tokens",
                               "0", *args], capture_output=True, text=True, timeout=120,
                              env=dict(os.environ, LC_ALL="C.UTF-8"), check=False)

    def see(self, model, *more):
        """Ids and logits."""
        result = []
        names = {"--ids": ("i", 4), "--logits": ("f", 4)}
        args = [word for option in names for word in (option, os.path.join(self.dir, option + ".npy"))]
        run = self.run_model(model, "--dtype", "f32", *args, *more)
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        for option, (code, size) in names.items():
            with open(os.path.join(self.dir, option + ".npy"), "rb") as file:
                data = file.read()
            data = data[10 + struct.unpack("<H", data[8:10])[0]:]
            result.append(struct.unpack(f"<{len(data) // size}{code}", data))
        return result

    def same(self, tolerance=0.0):
        ids, logits = self.see(ARGS.model)
        got_ids, got = self.see(self.model)
        self.assertEqual(ids, got_ids)
        self.assertLessEqual(max(abs(a - b) for a, b in zip(logits, got, strict=True)), tolerance * max(map(abs, logits)))

    def test_other_names(self):
        write_tensors(self.weights, {newer_name(name): t for name, t in self.tensors.items()})
        self.same()

    def test_f32_tensors(self):
        write_tensors(self.weights, {name: as_type(t, "F32") for name, t in self.tensors.items()})
        self.same(1e-5)

    def test_f16_and_mixed_tensors(self):
        mixed = {name: as_type(t, "F16") if i % 3 else t for i, (name, t) in enumerate(self.tensors.items())}
        write_tensors(self.weights, mixed)
        self.same(1e-3)  # bf16 below the range of f16 is rounded

    def test_shards(self):
        names = sorted(self.tensors)
        index = {}
        for k in range(3):
            shard = f"model-0000{k + 1}-of-00003.safetensors"
            part = {newer_name(name): self.tensors[name] for name in names[k::3]}
            write_tensors(self.path(shard), part)
            index.update(dict.fromkeys(part, shard))
        os.unlink(self.weights)
        with open(self.path("model.safetensors.index.json"), "w", encoding="utf-8") as file:
            json.dump({"metadata": {"total_size": 1}, "weight_map": index}, file)
        self.same()
        os.unlink(self.path("model-00002-of-00003.safetensors"))
        self.refused(EX_NOINPUT, "model-00002-of-00003.safetensors")

    def test_untied(self):
        """Tied, and the same head written out."""
        def change(config):
            config["tie_word_embeddings"] = False
            config.get("text_config", {}).pop("tie_word_embeddings", None)
        self.edit("config.json", change)
        write_tensors(self.weights, dict(self.tensors, **{"lm_head.weight": self.tensors.get(
            "lm_head.weight", self.tensors["model.embed_tokens.weight"])}))
        self.same()

    def test_other_config(self):
        """Nested becomes flat with rope_scaling and in_chans, or the other way."""
        def change(config):
            if "text_config" in config:
                text = config.pop("text_config")
                rope = text.pop("rope_parameters", None) or text.pop("rope_scaling")
                config["rope_theta"] = rope.get("rope_theta", text.get("rope_theta", 1e6))
                config["rope_scaling"] = {"type": "mrope", "mrope_section": rope["mrope_section"]}
                config.update({k: v for k, v in text.items() if k not in config and k != "model_type"})
            else:
                moved = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "rms_norm_eps",
                         "num_key_value_heads", "vocab_size", "max_position_embeddings", "hidden_act")
                text = {key: config.pop(key) for key in moved if key in config}
                rope = config.pop("rope_scaling")
                text["rope_parameters"] = {"rope_type": "default", "rope_theta": config.pop("rope_theta", 1e6),
                                           "mrope_section": rope["mrope_section"]}
                config["text_config"] = text
            vision = config["vision_config"]
            old, new = ("in_channels", "in_chans") if "in_channels" in vision else ("in_chans", "in_channels")
            vision[new] = vision.pop(old, 3)
        self.edit("config.json", change)
        self.same()

    def test_other_tokenizer_files(self):
        """Merges as pairs or as strings; then vocab.json, merges.txt and tokenizer_config.json instead."""
        with open(self.path("tokenizer.json"), encoding="utf-8") as file:
            tokenizer = json.load(file)
        merges = tokenizer["model"]["merges"]
        pairs = [m if isinstance(m, list) else m.split(" ") for m in merges]
        for other in (pairs, [" ".join(m) for m in pairs]):
            tokenizer["model"]["merges"] = other
            with open(self.path("tokenizer.json"), "w", encoding="utf-8") as file:
                json.dump(tokenizer, file)
            self.same()
        with open(self.path("vocab.json"), "w", encoding="utf-8") as file:
            json.dump(tokenizer["model"]["vocab"], file)
        with open(self.path("merges.txt"), "w", encoding="utf-8") as file:
            file.write("#version: 0.2\n" + "".join(" ".join(m) + "\n" for m in pairs))
        with open(self.path("tokenizer_config.json"), "w", encoding="utf-8") as file:
            json.dump({"added_tokens_decoder": {str(t["id"]): t for t in tokenizer["added_tokens"]}}, file)
        os.unlink(self.path("tokenizer.json"))
        self.same()

    def test_cache(self):
        """Packed weights that are kept give the same; damaged, of another source or not writable, they are made again."""
        cache = os.path.join(self.dir, "cache")
        plain = self.see(self.model, "--dtype", "int8")
        self.assertEqual(self.see(self.model, "--dtype", "int8", "--cache", cache), plain)
        kept = os.listdir(cache)
        self.assertEqual(len(kept), 1)
        path = os.path.join(cache, kept[0])
        before = os.stat(path)
        self.assertEqual(self.see(self.model, "--dtype", "int8", "--cache", cache), plain)
        self.assertEqual(os.stat(path).st_ino, before.st_ino)
        with open(path, "r+b") as file:
            file.seek(4096 + 100)  # in the first block
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1]))
        result = self.run_model(self.model, "--dtype", "int8", "--cache", cache)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("damaged: made again", result.stderr)
        self.assertNotEqual(os.stat(path).st_ino, before.st_ino)
        self.assertEqual(self.see(self.model, "--dtype", "int8", "--cache", cache), plain)
        name = "model.layers.0.mlp.up_proj.weight"
        dtype, shape, data = self.tensors[name]
        write_tensors(self.weights, dict(self.tensors, **{name: (dtype, shape, data[2:] + data[:2])}))
        changed = self.see(self.model, "--dtype", "int8")
        self.assertNotEqual(changed, plain)
        self.assertEqual(self.see(self.model, "--dtype", "int8", "--cache", cache), changed)
        self.assertEqual(len(os.listdir(cache)), 1)
        self.assertNotEqual(os.listdir(cache), kept)
        result = self.run_model(self.model, "--cache", "/proc/none")
        self.assertEqual(result.returncode, 0, result.stderr)

    def tokens(self, *args):
        """How many the prompt has."""
        result = self.run_model(self.model, "--json", *args)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return json.loads(result.stdout)["prompt_tokens"]

    def test_picture_limits(self):
        """Sizes of images by preprocessor_config.json, of videos by their own file where there is one, in both forms."""
        frames, pts = os.path.join(self.dir, "frames.npy"), os.path.join(self.dir, "pts.npy")
        for path, kind, shape, data in ((frames, "|u1", (2, 112, 112, 3), bytes(2 * 112 * 112 * 3)),
                                        (pts, "<f8", (2,), struct.pack("<2d", 0, 1))):
            header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
            header += b" " * (117 - len(header)) + b"\n"
            with open(path, "wb") as file:
                file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data)
        video = ("--frames", frames, "--pts", pts)
        image = os.path.join(self.dir, "image.png")
        subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=size=112x112", "-frames:v", "1", image],
                       check=True, timeout=60)
        none = self.tokens() + 2  # and where vision begins and ends
        own = {"size": {"shortest_edge": 784, "longest_edge": 28 * 56}}
        for limits in ({"min_pixels": 784, "max_pixels": 56 * 56}, {"size": {"shortest_edge": 784, "longest_edge": 56 * 56}}):
            self.edit("preprocessor_config.json", lambda c, new=limits: (c.pop("min_pixels", 0), c.pop("max_pixels", 0),
                                                                         c.pop("size", 0), c.update(new)))
            self.assertEqual(self.tokens("--image", image) - none, 4)
            self.assertEqual(self.tokens(*video) - none, 4)
            with open(self.path("preprocessor_config.json"), encoding="utf-8") as file:
                config = json.load(file)
            for form in (own, {"min_pixels": 784, "max_pixels": 28 * 56}):
                config = {k: v for k, v in config.items() if k not in ("size", "min_pixels", "max_pixels")}
                with open(self.path("video_preprocessor_config.json"), "w", encoding="utf-8") as file:
                    json.dump(dict(config, **form), file)
                self.assertEqual(self.tokens("--image", image) - none, 4)
                self.assertEqual(self.tokens(*video) - none, 1)
            os.unlink(self.path("video_preprocessor_config.json"))

    def test_end_tokens(self):
        """generation_config.json's, one or a list, end an answer."""
        def answer():
            result = self.run_model(self.model, "--json", "--max-tokens", "6")
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            return json.loads(result.stdout)
        ids = answer()["ids"]
        self.assertEqual(len(ids), 6)
        first = next(k for k in range(1, 6) if ids[k] not in ids[:k])
        for end in (ids[first], [1, ids[first]]):
            self.edit("generation_config.json", lambda c, new=end: c.update(eos_token_id=new))
            told = answer()
            self.assertEqual((told["ids"][:first], told["end"]), (ids[:first], "stop"))
            self.assertLessEqual(len(told["ids"]), first + 1)

    def test_adapter_configs(self):
        """Target modules as a list or as a pattern, older names of tensors, rank-stabilised scaling, bf16 factors: one model."""
        kept = os.path.join(self.dir, "adapter")
        golden = os.path.join(ARGS.golden, "08_lora", "adapter")
        with open(golden + "/adapter_config.json", encoding="utf-8") as file:
            config = json.load(file)
        rank, alpha = config["r"], config["lora_alpha"]
        plain = self.see(ARGS.model)[1]
        want = self.see(ARGS.model, "--lora", golden)[1]
        self.assertGreater(max(abs(a - b) for a, b in zip(plain, want, strict=True)), 0.01 * max(map(abs, plain)))

        def close(change, source="adapter", dtype=None):
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(os.path.join(ARGS.golden, "08_lora", source), kept, copy_function=shutil.copyfile)
            with open(kept + "/adapter_config.json", "w", encoding="utf-8") as file:
                json.dump(dict(config, **change), file)
            if dtype:
                weights = kept + "/adapter_model.safetensors"
                write_tensors(weights, {name: as_type(t, dtype) for name, t in read_tensors(weights).items()})
            got = self.see(ARGS.model, "--lora", kept)[1]
            return max(abs(a - b) for a, b in zip(want, got, strict=True)) <= (2e-3 if dtype else 1e-5) * max(map(abs, want))
        modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        self.assertTrue(close({"target_modules": modules}))
        self.assertTrue(close({"target_modules": r"^(?!.*visual).*(?:q|k|v|o|gate|up|down)_proj$"}))
        self.assertTrue(close({"target_modules": modules}, "adapter_older_key_names"))
        self.assertTrue(close({}, dtype="F16"))
        self.assertTrue(close({"use_rslora": True, "lora_alpha": alpha / rank ** 0.5}))
        self.assertFalse(close({"use_rslora": True}))
        self.assertFalse(close({"lora_alpha": alpha / 2}))

    # --- refused ---

    def refused(self, code, *words, args=()):
        """One line with these words; no file is written."""
        out = os.path.join(self.dir, "out.npy")
        result = self.run_model(self.model, "--ids", out, *args)
        self.assertEqual(result.returncode, code, result.stderr)
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)
        self.assertFalse(os.path.exists(out))
        self.assertEqual(result.stdout, "")

    def test_wrong_architecture(self):
        def change(config):
            config["architectures"] = ["LlamaForCausalLM"]
            config["model_type"] = "llama"
        self.edit("config.json", change)
        self.refused(EX_DATAERR, "config.json", "LlamaForCausalLM", "Qwen2_5_VLForConditionalGeneration")

    def test_tensors(self):
        name = "model.layers.0.mlp.up_proj.weight"
        rest = {k: t for k, t in self.tensors.items() if k != name}
        write_tensors(self.weights, rest)
        self.refused(EX_DATAERR, name, "missing")
        write_tensors(self.weights, dict(self.tensors, **{"model.layers.99.mlp.up_proj.weight": self.tensors[name]}))
        self.refused(EX_DATAERR, "model.layers.99.mlp.up_proj.weight", "not part of the model", "model.safetensors")
        dtype, shape, data = self.tensors[name]
        write_tensors(self.weights, dict(self.tensors, **{name: (dtype, shape[::-1], data)}))
        self.refused(EX_DATAERR, name, str(shape), str(shape[::-1]))
        write_tensors(self.weights, dict(self.tensors, **{name: ("I8", [*shape, 2], data)}))
        self.refused(EX_DATAERR, name, "I8", "BF16")

    def test_offsets(self):
        """A tensor one value longer, or beginning one value early: it and the reason are named."""
        with open(self.weights, "rb") as file:
            data = file.read()
        n = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8:8 + n])
        name = sorted((k for k in header if k != "__metadata__"), key=lambda k: header[k]["data_offsets"][0])[3]
        for move, reason in (((0, 2), "length does not fit"), ((-2, -2), "overlaps"), ((2, 2), "overlaps|hole")):
            changed = json.loads(json.dumps(header))
            changed[name]["data_offsets"] = [a + b for a, b in zip(header[name]["data_offsets"], move, strict=True)]
            text = json.dumps(changed).encode()
            with open(self.weights, "wb") as file:
                file.write(struct.pack("<Q", len(text)) + text + data[8 + n:])
            result = self.run_model(self.model)
            self.assertEqual(result.returncode, EX_DATAERR)
            self.assertRegex(result.stderr, rf"^whenscan: \S*model\.safetensors: tensor \S+: .*({reason})")
            self.assertRegex(result.stderr, re.escape(name) if reason != "overlaps|hole" else ".")

    def test_adapters(self):
        self.refused(EX_NOINPUT, "/nonexistent/adapter", args=("--lora", "/nonexistent/adapter"))
        adapter = os.path.join(self.dir, "adapter")
        os.mkdir(adapter)
        with open(adapter + "/adapter_config.json", "w", encoding="ascii") as file:
            json.dump({"peft_type": "LORA", "r": 1, "lora_alpha": 2, "target_modules": ".*"}, file)
        key = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
        write_tensors(adapter + "/adapter_model.safetensors", {key + "A.weight": ("F32", [1, 3], bytes(12)),
                                                               key + "B.weight": ("F32", [5, 1], bytes(20))})
        self.refused(EX_DATAERR, "adapter_model.safetensors", "layers.0.self_attn.q_proj", "another model",
                     args=("--lora", adapter))

    def test_memory(self):
        """A model that cannot fit is refused by an estimate, before anything is allocated."""
        if ARGS.sanitized:
            self.skipTest("a sanitized program needs more address space than the limit")
        self.widen(1 << 20)
        # Room for the program and its mapped file, not for the weights once more.
        size = os.path.getsize(self.weights)
        self.assertGreater(size, 384 << 20)
        limit_kib = (448 << 10) + size // 1024
        result = subprocess.run(["bash", "-c", f"ulimit -v {limit_kib}; exec \"$@\"", "bash", ARGS.whenscan, "--model",
                                 self.model, "--prompt", "x"], capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(result.returncode, EX_OSERR, result.stderr)
        self.assertRegex(result.stderr, r"^whenscan: \S+: needs [0-9.]+ GiB, [0-9.]+ available: [^\n]+\n$")

    def widen(self, wide):
        """MLPs of that many rows, in a sparse file."""
        sizes = {}

        def change(config):
            text = config.get("text_config", config)
            sizes["hidden"] = text["hidden_size"]
            text["intermediate_size"] = wide
        self.edit("config.json", change)
        header, at = {}, 0
        for name, (dtype, shape, data) in self.tensors.items():
            size = len(data)
            if ".mlp." in name and name.startswith("model.layers."):
                shape = [sizes["hidden"], wide] if "down_proj" in name else [wide, sizes["hidden"]]
                size = 2 * wide * sizes["hidden"]
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
            at += size
        text = json.dumps(header).encode()
        with open(self.weights, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.truncate(8 + len(text) + at)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for option in ("whenscan", "golden"):
        parser.add_argument("--" + option, required=True)
    parser.add_argument("--sanitized", action="store_true")
    ARGS, rest = parser.parse_known_args()
    ARGS.model = sorted(p for p in glob.glob(ARGS.golden + "/00_checkpoints/*")
                        if os.path.exists(p + "/model.safetensors") and os.path.exists(p + "/tokenizer.json"))[0]
    unittest.main(argv=[sys.argv[0], *rest])
