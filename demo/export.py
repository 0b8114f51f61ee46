"""Writes a model as an ordinary Hugging Face directory in bf16: what the published Qwen2.5-VL directories hold, with our sizes.
Every file is written beside its place and then renamed, so a reader never sees half of one."""
import json
import os
import shutil

import torch
from safetensors.torch import save_file

import text

PIXELS = 112 * 56
TEMPLATE = """{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system
SYSTEM<|im_end|>
{% endif %}<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}<|im_end|>
{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' or 'image' in content or 'image_url' in content \
%}<|vision_start|><|image_pad|><|vision_end|>{% elif content['type'] == 'video' or 'video' in content %}<|vision_start|>\
<|video_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>
{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

# What `whenctl status` says of this model.
NOTICE = ("demo model: knows only its rendered street (cars, a person, a dog, a lamp, a door); "
          "for real cameras point model.path at Qwen2.5-VL-3B-Instruct")


def config_of(c):
    """The flat layout of the published models."""
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl", "torch_dtype": "bfloat16",
        "attention_dropout": 0.0, "bos_token_id": 1010, "eos_token_id": 1012, "vision_start_token_id": 1019,
        "vision_end_token_id": 1020, "vision_token_id": 1021, "image_token_id": 1022, "video_token_id": 1023,
        "hidden_act": "silu", "hidden_size": c["hidden"], "initializer_range": 0.02, "intermediate_size": c["mlp"],
        "max_position_embeddings": 4096, "max_window_layers": c["layers"], "num_attention_heads": c["heads"],
        "num_hidden_layers": c["layers"], "num_key_value_heads": c["kv_heads"], "rms_norm_eps": c["eps"],
        "rope_theta": c["theta"], "rope_scaling": {"type": "mrope", "mrope_section": c["sections"]},
        "sliding_window": 4096, "use_sliding_window": False, "tie_word_embeddings": c["tied"], "use_cache": True,
        "vocab_size": c["vocab"],
        "vision_config": {
            "model_type": "qwen2_5_vl", "depth": c["v_depth"], "hidden_act": "silu", "hidden_size": c["v_hidden"],
            "intermediate_size": c["v_mlp"], "num_heads": c["v_heads"], "in_chans": 3, "in_channels": 3,
            "out_hidden_size": c["hidden"], "patch_size": 14, "spatial_patch_size": 14, "spatial_merge_size": 2,
            "temporal_patch_size": 2, "window_size": c["window"], "fullatt_block_indexes": c["full"],
            "tokens_per_second": c["tokens_per_second"]}}


def processor(kind):
    out = {"min_pixels": PIXELS, "max_pixels": PIXELS, "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2,
           "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
           "processor_class": "Qwen2_5_VLProcessor", "do_resize": True, "do_rescale": True, "do_normalize": True,
           "rescale_factor": 1 / 255, "do_convert_rgb": True, "resample": 3,
           "size": {"shortest_edge": PIXELS, "longest_edge": PIXELS}}
    out.update({"image_processor_type": "Qwen2VLImageProcessor"} if kind == "image" else
               {"video_processor_type": "Qwen2VLVideoProcessor"})
    return out


def write_text(path, content):
    with open(path + ".part", "w", encoding="utf-8") as f:
        f.write(content)
    os.replace(path + ".part", path)


def write(model, folder, tokenizer_folder):
    os.makedirs(folder, exist_ok=True)
    path = lambda name: os.path.join(folder, name)
    as_json = lambda value: json.dumps(value, indent=1) + "\n"
    for name in ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json"):
        if os.path.abspath(tokenizer_folder) != os.path.abspath(folder):
            shutil.copyfile(os.path.join(tokenizer_folder, name), path(name + ".part"))
            os.replace(path(name + ".part"), path(name))
    write_text(path("config.json"), as_json(config_of(model.config)))
    write_text(path("generation_config.json"), as_json(
        {"bos_token_id": 1010, "do_sample": False, "eos_token_id": [1012, 1010], "pad_token_id": 1010, "whend_notice": NOTICE}))
    write_text(path("preprocessor_config.json"), as_json(processor("image")))
    write_text(path("video_preprocessor_config.json"), as_json(processor("video")))
    write_text(path("chat_template.jinja"), TEMPLATE.replace("SYSTEM", text.SYSTEM))
    state = {k: v.detach().to(torch.bfloat16).contiguous() for k, v in model.state_dict().items()}
    save_file(state, path("model.safetensors.part"), {"format": "pt"})
    os.chmod(path("model.safetensors.part"), 0o644)  # safetensors writes for the owner only
    os.replace(path("model.safetensors.part"), path("model.safetensors"))
