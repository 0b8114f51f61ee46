"""transformers on the slice: run_transformers.py MODEL bf16|f32 THREADS, commands as in runner.py."""
import importlib.util
import sys

if sys.argv[1:] == ["--can"]:
    sys.exit(0 if importlib.util.find_spec("transformers") and importlib.util.find_spec("torch")
             else 69)

import torch  # noqa: E402
from runner import PATCH, frames, ids, patches, seen, serve, timed  # noqa: E402
from transformers import Qwen2_5_VLForConditionalGeneration  # noqa: E402

MODEL, FORM, THREADS = sys.argv[1], sys.argv[2], int(sys.argv[3])
torch.set_num_threads(THREADS)
torch.set_grad_enabled(False)
DTYPE = {"bf16": torch.bfloat16, "f32": torch.float32}[FORM]
model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
    MODEL, torch_dtype=DTYPE, attn_implementation="sdpa").eval()


def forward(tokens, cache=None):
    return model(input_ids=torch.tensor([tokens]), past_key_values=cache, use_cache=True,
                 logits_to_keep=1)


def logits(*tokens):
    return {"values": forward(list(tokens)).logits[0, -1].float().tolist()}


def prefill(count):
    return timed(forward, ids(count))[0]


def decode(sequences, steps, context):
    if sequences != 1:
        return None
    out = forward(ids(context))

    def run(out):
        for _ in range(steps):
            out = forward([int(out.logits[0, -1].argmax())], out.past_key_values)

    out = forward([1], out.past_key_values)
    return timed(run, out)[0]


def pixels_of(grids, height, width):
    grid = torch.tensor([[grids, height // PATCH, width // PATCH]])
    return torch.from_numpy(patches(frames(grids, height, width))).to(DTYPE), grid


def see(height, width):
    return seen(model.model.visual(*pixels_of(1, height, width)).float())


def vit(grids, height, width):
    result, tokens = timed(model.model.visual, *pixels_of(grids, height, width))
    assert len(tokens) == grids * height * width // (2 * PATCH) ** 2
    return result


def embed(grids, height, width):
    pixels, _ = pixels_of(grids, height, width)
    return timed(model.model.visual.patch_embed, pixels)[0]


serve({"logits": logits, "prefill": prefill, "decode": decode, "see": see, "vit": vit,
       "embed": embed})
