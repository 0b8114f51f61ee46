"""transformers on the slice: run_transformers.py MODEL bf16|f32 THREADS, commands as in runner.py."""
import importlib.util
import sys

if sys.argv[1:] == ["--can"]:
    sys.exit(0 if importlib.util.find_spec("transformers") and importlib.util.find_spec("torch")
             else 69)

import torch  # noqa: E402
from runner import ids, serve, timed  # noqa: E402
from transformers import Qwen2_5_VLForConditionalGeneration  # noqa: E402

MODEL, FORM, THREADS = sys.argv[1], sys.argv[2], int(sys.argv[3])
torch.set_num_threads(THREADS)
torch.manual_seed(1)
DTYPE = {"bf16": torch.bfloat16, "f32": torch.float32}[FORM]
model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
    MODEL, torch_dtype=DTYPE, attn_implementation="sdpa").eval()


def forward(tokens, cache=None):
    return model(input_ids=torch.tensor([tokens]), past_key_values=cache, use_cache=True,
                 logits_to_keep=1)


def prefill(count):
    with torch.inference_mode():
        return timed(forward, ids(count))[0]


def decode(sequences, steps, context):
    if sequences != 1:
        return None
    with torch.inference_mode():
        out = forward(ids(context))

        def run(out):
            for _ in range(steps):
                out = forward([int(out.logits[0, -1].argmax())], out.past_key_values)

        out = forward([1], out.past_key_values)
        return timed(run, out)[0]


def pixels_of(grids, height, width):
    grid = torch.tensor([[grids, height // 14, width // 14]])
    return torch.rand(int(grid.prod()), 1176, dtype=DTYPE), grid


def vit(grids, height, width):
    pixels, grid = pixels_of(grids, height, width)
    with torch.inference_mode():
        return timed(model.model.visual, pixels, grid)[0]


def embed(grids, height, width):
    pixels, _ = pixels_of(grids, height, width)
    with torch.inference_mode():
        return timed(model.model.visual.patch_embed, pixels)[0]


serve({"prefill": prefill, "decode": decode, "vit": vit, "embed": embed})
