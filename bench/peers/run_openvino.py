"""OpenVINO on the slice: run_openvino.py MODEL fp16|int8|int4 THREADS, commands as in runner.py.

The models that OpenVINO GenAI runs, exported by optimum-cli beside the slice when they are not there
yet, and driven below its pipeline: there the number of tokens is ours to say. As GenAI does, logits
are computed of the last token only. Vision goes grid by grid: attention does not cross grids, and so
the masks stay small.
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
from openvino import opset13 as ops  # noqa: E402
from runner import MERGE, PATCH, frames, ids, patches, seen, serve, timed  # noqa: E402

MODEL, FORM, THREADS = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
WINDOW, ROTARY = 4, 40  # merged patches, angles of a patch


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


directory = export()
core = openvino.Core()
# Precision and the groups of dynamic quantisation are left to the plugin, which takes bf16 and 8-bit
# activations where the CPU has instructions for them.
PROPERTIES = {"INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}


def compiled(model):
    return core.compile_model(model, "CPU", PROPERTIES).create_infer_request()


def read(name):
    return core.read_model(directory / f"openvino_{name}_model.xml")


def language_model():
    model = read("language")
    head = model.output("logits").get_node().input_value(0).get_node()
    while head.get_type_name() != "MatMul":
        head = head.input_value(0).get_node()
    last = ops.gather(head.input_value(0), ops.constant(np.array([-1])), ops.constant(1))
    head.input(0).replace_source_output(last.output(0))
    model.validate_nodes_and_infer_types()
    return compiled(model)


embeddings, language = compiled(read("text_embeddings")), language_model()
names = {name for port in language.model_inputs for name in port.get_names()}
vision = {}


def forward(tokens, before):
    words = embeddings.infer([np.array([tokens])])[0]
    at = np.arange(before, before + len(tokens))[None, None]
    inputs = {"inputs_embeds": words, "attention_mask": np.ones((1, before + len(tokens)), np.int64),
              "position_ids": np.repeat(at, 3, 0), "beam_idx": np.zeros(1, np.int32)}
    language.infer({name: value for name, value in inputs.items() if name in names})
    return language.get_tensor("logits").data[0, -1]


def logits(*tokens):
    language.reset_state()
    return {"values": forward(list(tokens), 0).tolist()}


def prefill(count):
    language.reset_state()
    return timed(forward, ids(count), 0)[0]


def decode(sequences, steps, context):
    if sequences != 1:
        return None
    language.reset_state()
    forward(ids(context), 0)
    forward([1], context)

    def run():
        for i, token in enumerate(ids(steps, 7)):
            forward([token], context + 1 + i)

    return timed(run)[0]


def open_vision():
    if not vision:
        vision["embed"] = compiled(read("vision_embeddings"))
        vision["blocks"] = compiled(read("vision_embeddings_merger"))


def tables(height, width):
    """The inputs of one grid that depend on its size only."""
    rows, columns = height // PATCH // MERGE, width // PATCH // MERGE
    row, column = np.divmod(np.arange(rows * columns), columns)
    inner = np.arange(MERGE * MERGE)
    at = np.stack([(row[:, None] * MERGE + inner // MERGE).ravel(),
                   (column[:, None] * MERGE + inner % MERGE).ravel()], 1)
    angles = 10000.0 ** (-np.arange(0, ROTARY, 2) / ROTARY)
    window = row // WINDOW * (columns // WINDOW + 1) + column // WINDOW
    order = np.argsort(window, kind="stable")
    of_patch = np.repeat(window[order], MERGE * MERGE)
    count = len(of_patch)
    same = np.where(of_patch[:, None] == of_patch[None], 0, -np.inf).astype(np.float32)
    return {"rotary_pos_emb": (at[:, :, None] * angles).reshape(count, ROTARY).astype(np.float32),
            "attention_mask": np.zeros((1, count, count), np.float32),
            "window_attention_mask": same[None], "window_index": order}


def encode(grids, height, width):
    """Tokens [tokens, hidden], and what they took."""
    open_vision()
    pixels, inputs = patches(frames(grids, height, width)), tables(height, width)

    def run():
        hidden = vision["embed"].infer([pixels])[0].reshape(grids, len(pixels) // grids, -1)
        return np.concatenate([vision["blocks"].infer({**inputs, "hidden_states": grid})[0].copy()
                               for grid in hidden])

    result, tokens = timed(run)
    return tokens, result


def see(height, width):
    return seen(encode(1, height, width)[0])


def vit(grids, height, width):
    tokens, result = encode(grids, height, width)
    assert len(tokens) == grids * height * width // (PATCH * MERGE) ** 2
    return result


def embed(grids, height, width):
    open_vision()
    return timed(vision["embed"].infer, [patches(frames(grids, height, width))])[0]


serve({"logits": logits, "prefill": prefill, "decode": decode, "see": see, "vit": vit,
       "embed": embed})
