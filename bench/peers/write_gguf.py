"""The slice as a GGUF file for llama.cpp: bf16, q8_0 or q4_0 matrices, f32 vectors.

Made beside the slice; gguf's own quantisers. The vocabulary is made up: only ids are ever given.
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
OTHERS = {"model.embed_tokens.weight": "token_embd.weight", "lm_head.weight": "output.weight",
          "model.norm.weight": "output_norm.weight"}


def name_of(name):
    """llama.cpp's name, or None for the vision part."""
    found = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
    if found:
        return f"blk.{found[1]}.{NAMES[found[2]]}.{found[3]}"
    return OTHERS.get(name)


def tensors(model):
    with open(model / "model.safetensors", "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    data = np.memmap(model / "model.safetensors", np.uint8, "r", offset=8 + size)
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        wide = data[begin:end].view(np.uint16).astype(np.uint32) << 16
        yield name, wide.view(np.float32).reshape(entry["shape"])


def make(directory, form):
    model = pathlib.Path(directory)
    path = model / f"slice-{form}.gguf"
    if path.exists():
        return path
    config = json.loads((model / "config.json").read_text())
    part = path.with_suffix(".part")
    writer = gguf.GGUFWriter(part, "qwen2vl")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_rope_dimension_sections(config["rope_scaling"]["mrope_section"] + [0])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_file_type(FILE_TYPES[form])
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
        target = name_of(name)
        if not target:
            continue
        if values.ndim == 1:
            writer.add_tensor(target, values.astype(np.float32))
        else:
            writer.add_tensor(target, gguf.quants.quantize(values, TYPES[form]),
                              raw_dtype=TYPES[form])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.rename(path)
    return path
