"""check_golden itself: what is not run, missing or wrong in a set of vectors is told, and exits 1."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

CHECK, DATA = sys.argv[1:3]


class CheckGolden(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="check-golden-")
        self.set = os.path.join(self.dir, "set")
        shutil.copytree(DATA, self.set, copy_function=shutil.copyfile)
        for folder, _, _ in os.walk(self.set):
            os.chmod(folder, 0o755)

    def tearDown(self):
        shutil.rmtree(self.dir)

    def path(self, *parts):
        return os.path.join(self.set, *parts)

    def run_set(self, code, *stages):
        result = subprocess.run([CHECK, self.set, *stages], capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(result.returncode, code, result.stdout)
        return result.stdout

    def row(self, text, begin):
        return next(line for line in text.splitlines() if line.startswith(begin))

    def flip(self, *parts):
        """Changes the last value of an array a lot: its exponent."""
        with open(self.path(*parts), "r+b") as file:
            file.seek(-1, os.SEEK_END)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_END)
            file.write(bytes([byte ^ 0x40]))

    def test_unknown_stage(self):
        os.mkdir(self.path("10_something_new"))
        text = self.run_set(1)
        self.assertIn("NOT RUN", self.row(text, "10_something_new"))
        self.assertIn("pass", self.row(text, "07 llm logits"))

    def test_absent_stage(self):
        shutil.rmtree(self.path("06_vit"))
        self.assertIn("not in this directory", self.row(self.run_set(0, "06", "01"), "06_vit"))
        self.run_set(1, "06")  # nothing was compared

    def test_empty_stage(self):
        shutil.rmtree(self.path("06_vit"))
        os.mkdir(self.path("06_vit"))
        self.assertIn("FAIL", self.row(self.run_set(1, "06", "04"), "06 vit windows"))

    def test_wrong_values(self):
        for stage, row, parts in (
                ("04", "04 mrope", ("04_mrope", "position_ids_i32.npy")),
                ("05", "05 pixel values", ("05_preprocess", "vid_odd", "pixel_values_f32.npy")),
                ("06", "06 vit blocks ", ("06_vit", "tiny", "vid_odd", "block_01_f32.npy")),
                ("06", "06 vit merger ", ("06_vit", "tiny", "vid_odd", "merger_f32.npy")),
                ("06", "06 vit windows ", ("06_vit", "tiny", "vid_odd", "cu_seqlens_i32.npy")),
                ("07", "07 llm layers ", ("07_llm", "tiny", "text", "layer_01_f32.npy")),
                ("07", "07 llm logits ", ("07_llm", "tiny", "text", "logits_f32.npy")),
                ("08", "08 lora logits ", ("08_lora", "video_logits_f32.npy"))):
            self.flip(*parts)
            text = self.run_set(1, stage)
            self.assertIn("FAIL", self.row(text, row), parts)
            self.flip(*parts)
        self.run_set(0, "04", "05", "06", "07", "08")

    def test_missing_file(self):
        os.unlink(self.path("07_llm", "tiny", "video", "input_ids_i32.npy"))
        self.assertIn("input_ids_i32.npy", self.run_set(1, "07"))

    def test_case_that_is_none(self):
        os.mkdir(self.path("06_vit", "tiny", "empty"))
        self.run_set(1, "06")
        os.mkdir(self.path("08_lora", "no_adapter"))
        self.assertIn("no_adapter", self.run_set(1, "08"))

    def test_other_id(self):
        """Another id fails, unless the reference was as good as undecided."""
        name = self.path("07_llm", "tiny", "text", "greedy_f32.jsonl")
        with open(name, encoding="utf-8") as file:
            steps = [json.loads(line) for line in file]
        last = steps[-1]
        last["id"] = last["top5_ids"][1]
        last.pop("log_prob")

        def write():
            with open(name, "w", encoding="utf-8") as file:
                file.writelines(json.dumps(step) + "\n" for step in steps)
        write()
        self.assertIn("FAIL", self.row(self.run_set(1, "07"), "07 llm greedy ids, positions"))
        last["margin"] = 1e-7
        write()
        self.assertIn("pass", self.row(self.run_set(0, "07"), "07 llm greedy ids, positions"))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
