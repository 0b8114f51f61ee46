"""A checkpoint with the widths of Qwen2.5-VL-3B, random bf16 weights: what speed needs. [--full]

A Hugging Face directory like any other: config.json, model.safetensors, tokenizer (of demo/model:
the first 1024 ids). The slice has few layers: 4 of the language model, 8 ViT blocks with full
attention in 3 and 7, a vocabulary of 8192; --full has all of 3B's and takes 7.5 GB. Kept in a cache
folder outside the tree and made again when this file changes.
"""
import hashlib
import json
import os
import pathlib
import shutil
import sys
import typing

import numpy as np

HIDDEN, INTERMEDIATE, HEADS, KV_HEADS = 2048, 11008, 16, 2
VISION, VISION_INTERMEDIATE, VISION_HEADS = 1280, 3420, 16


class Shape(typing.NamedTuple):
    """What a slice has less of."""
    name: str
    layers: int  # of the language model
    depth: int  # ViT blocks
    full_every: int  # the last of so many attends to all
    vocab: int
    tied: bool  # the head is the embedding table


SLICE = Shape("slice", 4, 8, 4, 8192, False)
FULL = Shape("full", 36, 32, 8, 151936, True)
ROOT = pathlib.Path(__file__).resolve().parent.parent
TOKENIZER = ROOT / "demo" / "model"
TOKENIZER_FILES = ["tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json",
                   "chat_template.jinja", "preprocessor_config.json",
                   "video_preprocessor_config.json", "generation_config.json"]


def config(shape):
    kept = ["bos_token_id", "eos_token_id", "vision_start_token_id", "vision_end_token_id",
            "vision_token_id", "image_token_id", "video_token_id"]
    demo = json.loads((TOKENIZER / "config.json").read_text())
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "torch_dtype": "bfloat16",
        **{key: demo[key] for key in kept if key in demo},
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "initializer_range": 0.02,
        "intermediate_size": INTERMEDIATE,
        "max_position_embeddings": 32768,
        "max_window_layers": shape.layers,
        "num_attention_heads": HEADS,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": KV_HEADS,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        "sliding_window": 32768,
        "use_sliding_window": False,
        "tie_word_embeddings": shape.tied,
        "use_cache": True,
        "vocab_size": shape.vocab,
        "vision_config": {
            "model_type": "qwen2_5_vl", "depth": shape.depth, "hidden_act": "silu",
            "hidden_size": VISION, "intermediate_size": VISION_INTERMEDIATE,
            "num_heads": VISION_HEADS, "in_chans": 3, "in_channels": 3,
            "out_hidden_size": HIDDEN, "patch_size": 14, "spatial_patch_size": 14,
            "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112,
            "tokens_per_second": 2,
            "fullatt_block_indexes": list(range(shape.full_every - 1, shape.depth,
                                                shape.full_every)),
        },
    }


def tensors(shape):
    """Name and shape of every tensor; the last dimension is summed over."""
    head = HIDDEN // HEADS
    result = [("model.embed_tokens.weight", (shape.vocab, HIDDEN)), ("model.norm.weight", (HIDDEN,))]
    if not shape.tied:
        result += [("lm_head.weight", (shape.vocab, HIDDEN))]
    for i in range(shape.layers):
        p = f"model.layers.{i}."
        for name, n in (("q_proj", HEADS * head), ("k_proj", KV_HEADS * head),
                        ("v_proj", KV_HEADS * head)):
            result += [(f"{p}self_attn.{name}.weight", (n, HIDDEN)),
                       (f"{p}self_attn.{name}.bias", (n,))]
        result += [(p + "self_attn.o_proj.weight", (HIDDEN, HEADS * head)),
                   (p + "mlp.gate_proj.weight", (INTERMEDIATE, HIDDEN)),
                   (p + "mlp.up_proj.weight", (INTERMEDIATE, HIDDEN)),
                   (p + "mlp.down_proj.weight", (HIDDEN, INTERMEDIATE)),
                   (p + "input_layernorm.weight", (HIDDEN,)),
                   (p + "post_attention_layernorm.weight", (HIDDEN,))]
    v = "visual."
    result += [(v + "patch_embed.proj.weight", (VISION, 3, 2, 14, 14))]
    for i in range(shape.depth):
        p = f"{v}blocks.{i}."
        for name, n, k in (("attn.qkv", 3 * VISION, VISION), ("attn.proj", VISION, VISION),
                           ("mlp.gate_proj", VISION_INTERMEDIATE, VISION),
                           ("mlp.up_proj", VISION_INTERMEDIATE, VISION),
                           ("mlp.down_proj", VISION, VISION_INTERMEDIATE)):
            result += [(f"{p}{name}.weight", (n, k)), (f"{p}{name}.bias", (n,))]
        result += [(p + "norm1.weight", (VISION,)), (p + "norm2.weight", (VISION,))]
    result += [(v + "merger.ln_q.weight", (VISION,)),
               (v + "merger.mlp.0.weight", (4 * VISION, 4 * VISION)),
               (v + "merger.mlp.0.bias", (4 * VISION,)),
               (v + "merger.mlp.2.weight", (HIDDEN, 4 * VISION)),
               (v + "merger.mlp.2.bias", (HIDDEN,))]
    return result


def values(rng, name, shape):
    """bf16 as its 16 bits: random sign and mantissa, the exponent that keeps sums near one."""
    count = int(np.prod(shape))
    if len(shape) == 1 and "norm" in name or "ln_q" in name:
        return np.full(count, 0x3F80, np.uint16)  # 1
    summed = int(np.prod(shape[1:])) if len(shape) > 1 else 1 << 12
    exponent = 127 - int(np.ceil(np.log2(summed) / 2)) - 1
    bits = rng.integers(0, 1 << 16, count, np.uint16)
    return (bits & 0x807F) | np.uint16(exponent << 7)


def write_safetensors(path, named):
    header, at = {}, 0
    for name, shape in named:
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rng = np.random.default_rng(1)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in named:
            file.write(values(rng, name, shape).tobytes())


def make(shape=SLICE):
    """The checkpoint's directory, made when it is not there yet."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
    digest = hashlib.sha256(pathlib.Path(__file__).read_bytes())
    digest.update(repr(shape).encode())
    for name in TOKENIZER_FILES + ["config.json"]:
        if (TOKENIZER / name).exists():
            digest.update((TOKENIZER / name).read_bytes())
    target = cache / "whend" / "bench" / f"{shape.name}-{digest.hexdigest()[:12]}"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(f".{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for name in TOKENIZER_FILES:
        if (TOKENIZER / name).exists():
            shutil.copy(TOKENIZER / name, part)
    (part / "config.json").write_text(json.dumps(config(shape), indent=1))
    write_safetensors(part / "model.safetensors", tensors(shape))
    part.rename(target)
    return target


if __name__ == "__main__":
    print(make(FULL if sys.argv[1:] == ["--full"] else SLICE))
