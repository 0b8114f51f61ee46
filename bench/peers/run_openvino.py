"""OpenVINO on the slice: run_openvino.py MODEL int8|fp16 THREADS, commands as in runner.py.

The models that OpenVINO GenAI runs, exported by optimum-cli beside the slice when they are not there
yet, and driven below its pipeline: there the number of tokens is ours to say.
"""
import importlib.util
import os
import pathlib
import subprocess
import sys

if sys.argv[1:] == ["--can"]:
    sys.exit(0 if importlib.util.find_spec("openvino") and importlib.util.find_spec("optimum")
             else 69)

import numpy as np  # noqa: E402
import openvino  # noqa: E402
from runner import serve, timed  # noqa: E402

MODEL, FORM, THREADS = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
HIDDEN = 2048


def export():
    target = MODEL / f"openvino-{FORM}"
    if target.exists():
        return target
    part = MODEL / f"openvino-{FORM}.{os.getpid()}"
    program = pathlib.Path(sys.executable).parent / "optimum-cli"
    subprocess.run([program, "export", "openvino", "--model", MODEL, "--task",
                    "image-text-to-text", "--weight-format", FORM, part], check=True)
    part.rename(target)
    return target


core = openvino.Core()
properties = {"INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY"}
directory = export()
language = core.compile_model(directory / "openvino_language_model.xml", "CPU",
                              properties).create_infer_request()
names = {name for port in language.model_inputs for name in port.get_names()}
rng = np.random.default_rng(1)


def forward(count, before):
    at = np.arange(before, before + count)[None, None]
    inputs = {"inputs_embeds": rng.standard_normal((1, count, HIDDEN), np.float32),
              "attention_mask": np.ones((1, before + count), np.int64),
              "position_ids": np.repeat(at, 3, 0), "beam_idx": np.zeros(1, np.int32)}
    language.infer({name: value for name, value in inputs.items() if name in names})


def prefill(count):
    language.reset_state()
    return timed(forward, count, 0)[0]


def decode(sequences, steps, context):
    if sequences != 1:
        return None
    language.reset_state()
    forward(context, 0)
    forward(1, context)

    def run():
        for i in range(steps):
            forward(1, context + 1 + i)

    return timed(run)[0]


serve({"prefill": prefill, "decode": decode})
