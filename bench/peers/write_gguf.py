"""The slice as GGUF files for llama.cpp: bf16, q8_0 or q4_0 matrices, f32 vectors.

One file for the language model, one for clip, the vision part. Made beside the slice; gguf's own
quantisers. The vocabulary is made up: only ids are ever given.
"""
import json
import pathlib
import re

import gguf
import numpy as np

TYPES = {"bf16": gguf.GGMLQuantizationType.BF16, "q8_0": gguf.GGMLQuantizationType.Q8_0,
         "q4_0": gguf.GGMLQuantizationType.Q4_0}
FILE_TYPES = {"bf16": gguf.LlamaFileType.MOSTLY_BF16, "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
              "q4_0": gguf.LlamaFileType.MOSTLY_Q4_0}
NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
VISION_NAMES = {
    "attn.proj": "attn_out", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "norm1": "ln1", "norm2": "ln2",
}
OTHERS = {"model.embed_tokens.weight": "token_embd.weight", "lm_head.weight": "output.weight",
          "model.norm.weight": "output_norm.weight", "visual.merger.ln_q.weight": "v.post_ln.weight"}


def name_of(name):
    """llama.cpp's name of a tensor that stays whole, or None."""
    found = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
    if found:
        return f"blk.{found[1]}.{NAMES[found[2]]}.{found[3]}"
    found = re.fullmatch(r"visual\.blocks\.(\d+)\.(.+)\.(weight|bias)", name)
    if found and found[2] in VISION_NAMES:
        return f"v.blk.{found[1]}.{VISION_NAMES[found[2]]}.{found[3]}"
    found = re.fullmatch(r"visual\.merger\.mlp\.(\d)\.(weight|bias)", name)
    if found:
        return f"mm.{found[1]}.{found[2]}"
    return OTHERS.get(name)


def parts_of(name, values):
    """What clip wants in parts: (its name, values) ..."""
    found = re.fullmatch(r"visual\.blocks\.(\d+)\.attn\.qkv\.(weight|bias)", name)
    if found:
        return [(f"v.blk.{found[1]}.attn_{part}.{found[2]}", third)
                for part, third in zip("qkv", np.split(values, 3))]
    if name == "visual.patch_embed.proj.weight":
        return [("v.patch_embd.weight", values[:, :, 0]), ("v.patch_embd.weight.1", values[:, :, 1])]
    return [(name_of(name), values)]


def tensors(model):
    with open(model / "model.safetensors", "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    data = np.memmap(model / "model.safetensors", np.uint8, "r", offset=8 + size)
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        wide = data[begin:end].view(np.uint16).astype(np.uint32) << 16
        yield name, wide.view(np.float32).reshape(entry["shape"])


def add(writer, name, values, form):
    if values.ndim == 4:  # convolutions: f16, which clip multiplies as it is
        writer.add_tensor(name, np.ascontiguousarray(values, np.float16))
    elif values.ndim == 1:
        writer.add_tensor(name, np.ascontiguousarray(values, np.float32))
    else:
        # Rows that are no whole number of blocks stay bf16: 3420 of the vision part.
        kind = TYPES[form] if values.shape[1] % 32 == 0 else TYPES["bf16"]
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)


def write(path, architecture, form, fill):
    """A file made by fill(writer), unless it is there."""
    if not path.exists():
        part = path.with_suffix(".part")
        writer = gguf.GGUFWriter(part, architecture)
        writer.add_file_type(FILE_TYPES[form])
        fill(writer)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        part.rename(path)
    return path


def make(directory, form):
    """The language model's file."""
    model = pathlib.Path(directory)
    config = json.loads((model / "config.json").read_text())

    def fill(writer):
        writer.add_block_count(config["num_hidden_layers"])
        writer.add_context_length(config["max_position_embeddings"])
        writer.add_embedding_length(config["hidden_size"])
        writer.add_feed_forward_length(config["intermediate_size"])
        writer.add_head_count(config["num_attention_heads"])
        writer.add_head_count_kv(config["num_key_value_heads"])
        writer.add_rope_freq_base(config["rope_theta"])
        writer.add_rope_dimension_sections(config["rope_scaling"]["mrope_section"] + [0])
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
        vocab = config["vocab_size"]
        writer.add_vocab_size(vocab)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("qwen2")
        writer.add_token_list([f"t{i}" for i in range(vocab)])
        writer.add_token_types([gguf.TokenType.NORMAL] * vocab)
        writer.add_token_merges(["t 0"])
        writer.add_eos_token_id(vocab - 1)
        writer.add_bos_token_id(vocab - 2)
        for name, values in tensors(model):
            if not name.startswith("visual."):
                add(writer, name_of(name), values, form)

    return write(model / f"slice-{form}.gguf", "qwen2vl", form, fill)


def make_vision(directory, form):
    """clip's file."""
    model = pathlib.Path(directory)
    config = json.loads((model / "config.json").read_text())
    pictures = json.loads((model / "preprocessor_config.json").read_text())

    def fill(writer):
        vision = config["vision_config"]
        writer.add_type(gguf.GGUFType.MMPROJ)
        writer.add_clip_has_vision_encoder(True)
        writer.add_clip_projector_type(gguf.VisionProjectorType.QWEN25VL)
        writer.add_vision_projection_dim(config["hidden_size"])
        writer.add_vision_image_size(560)  # of its warm-up only
        writer.add_vision_patch_size(vision["patch_size"])
        writer.add_vision_embedding_length(vision["hidden_size"])
        writer.add_vision_feed_forward_length(vision["intermediate_size"])
        writer.add_vision_block_count(vision["depth"])
        writer.add_vision_head_count(vision["num_heads"])
        writer.add_vision_attention_layernorm_eps(config["rms_norm_eps"])
        writer.add_vision_image_mean(pictures["image_mean"])
        writer.add_vision_image_std(pictures["image_std"])
        writer.add_vision_use_silu(True)
        writer.add_vision_n_wa_pattern(vision["fullatt_block_indexes"][0] + 1)
        for name, values in tensors(model):
            if name.startswith("visual."):
                for part, piece in parts_of(name, values):
                    add(writer, part, piece, form)

    return write(model / f"clip-{form}.gguf", "clip", form, fill)
