"""Qwen2.5-VL in plain torch, small enough to train on two cores: the vision transformer, the language model with multimodal
rotary positions, and the training-only heads. Parameter names are those of the published checkpoints.

  patches [n, 3*2*14*14] -> vision transformer, per grid of two frames -> merged tokens [n/4, H] -> put in place of
  <|video_pad|> -> language model [B, L, H] -> logits. Attention masks and position ids are given by the caller.
"""
import json
import os

import torch
import torch.nn.functional as F
from torch import nn

CONFIG = {
    "hidden": 192, "layers": 5, "heads": 6, "kv_heads": 3, "head_size": 32, "mlp": 512, "vocab": 1024, "eps": 1e-6,
    "theta": 2500.0, "sections": [8, 4, 4], "tokens_per_second": 8, "tied": True,
    "v_hidden": 96, "v_depth": 3, "v_heads": 3, "v_mlp": 256, "window": 56, "full": [1, 2],
}


def read_config(folder):
    """The sizes of an HF directory, of the flat layout of published models or the nested one of transformers 5."""
    with open(os.path.join(folder, "config.json")) as f:
        c = json.load(f)
    t, v = c.get("text_config", c), c["vision_config"]
    rope = t.get("rope_parameters") or t.get("rope_scaling")
    heads = t["num_attention_heads"]
    return {"hidden": t["hidden_size"], "layers": t["num_hidden_layers"], "heads": heads,
            "kv_heads": t["num_key_value_heads"], "head_size": t.get("head_dim") or t["hidden_size"] // heads,
            "mlp": t["intermediate_size"], "vocab": t["vocab_size"], "eps": t["rms_norm_eps"],
            "theta": rope.get("rope_theta") or t["rope_theta"], "sections": rope["mrope_section"],
            "tokens_per_second": v["tokens_per_second"],
            "tied": c.get("tie_word_embeddings", t.get("tie_word_embeddings", False)),
            "v_hidden": v["hidden_size"], "v_depth": v["depth"], "v_heads": v["num_heads"],
            "v_mlp": v["intermediate_size"], "window": v["window_size"], "full": v["fullatt_block_indexes"]}


class Norm(nn.Module):
    def __init__(self, size, eps=1e-6):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def rotate(x, cos, sin):
    """x [B, heads, L, size]; pairs are (i, i + size/2)."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def linear_of(*parts):
    """Several layers with one input as one matrix product."""
    weight = torch.cat([p.weight for p in parts])
    return weight, None if parts[0].bias is None else torch.cat([p.bias for p in parts])


class Mlp(nn.Module):
    def __init__(self, size, inner, bias):
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(size, inner, bias), nn.Linear(size, inner, bias)
        self.down_proj = nn.Linear(inner, size, bias)

    def forward(self, x):
        gate, up = F.linear(x, *linear_of(self.gate_proj, self.up_proj)).chunk(2, -1)
        return self.down_proj(F.silu(gate) * up)


# -- vision ----------------------------------------------------------------------------------------------------
class VisionAttention(nn.Module):
    def __init__(self, size, heads):
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(size, 3 * size), nn.Linear(size, size)

    def forward(self, x, cos, sin, mask):
        b, n, c = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, attn_mask=mask)
        return self.proj(out.transpose(1, 2).reshape(b, n, c))


class VisionBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm1, self.norm2 = Norm(c["v_hidden"]), Norm(c["v_hidden"])
        self.attn = VisionAttention(c["v_hidden"], c["v_heads"])
        self.mlp = Mlp(c["v_hidden"], c["v_mlp"], True)

    def forward(self, x, cos, sin, mask):
        x = x + self.attn(self.norm1(x), cos, sin, mask)
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.proj = nn.Conv3d(3, size, (2, 14, 14), (2, 14, 14), bias=False)

    def forward(self, patches):
        return F.linear(patches, self.proj.weight.flatten(1))


class Merger(nn.Module):
    def __init__(self, size, out):
        super().__init__()
        self.ln_q = Norm(size)
        self.mlp = nn.Sequential(nn.Linear(4 * size, 4 * size), nn.GELU(), nn.Linear(4 * size, out))

    def forward(self, x):
        x = self.ln_q(x)
        return self.mlp(x.reshape(x.shape[0], -1, 4 * x.shape[-1]))


class Vision(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.config = c
        self.patch_embed = PatchEmbed(c["v_hidden"])
        self.blocks = nn.ModuleList(VisionBlock(c) for _ in range(c["v_depth"]))
        self.merger = Merger(c["v_hidden"], c["hidden"])
        self.cache = {}

    def geometry(self, rows, columns):
        """cos, sin [n, head/2] and the window mask [n, n] of one grid, in the order of its patches: merged rows, merged
        columns, then the 2 x 2 inside."""
        if (rows, columns) not in self.cache:
            c = self.config
            y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
            order = lambda a: a.view(rows // 2, 2, columns // 2, 2).permute(0, 2, 1, 3).flatten()
            y, x = order(y), order(x)
            quarter = c["v_hidden"] // c["v_heads"] // 4
            frequency = 10000.0 ** (-torch.arange(quarter) / quarter)
            angle = torch.cat((y[:, None] * frequency, x[:, None] * frequency), -1)
            side = c["window"] // 14
            window = (y // side) * 10000 + x // side
            self.cache[rows, columns] = angle.cos(), angle.sin(), window[:, None] == window[None]
        return self.cache[rows, columns]

    def forward(self, patches, rows, columns):
        """patches [grids, rows * columns, 1176] -> [grids, rows * columns / 4, H]"""
        cos, sin, mask = self.geometry(rows, columns)
        x = self.patch_embed(patches)
        for i, block in enumerate(self.blocks):
            x = block(x, cos, sin, None if i in self.config["full"] else mask)
        return self.merger(x)


# -- language --------------------------------------------------------------------------------------------------
class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.kv_heads, self.size = c["heads"], c["kv_heads"], c["head_size"]
        self.q_proj = nn.Linear(c["hidden"], self.heads * self.size)
        self.k_proj = nn.Linear(c["hidden"], self.kv_heads * self.size)
        self.v_proj = nn.Linear(c["hidden"], self.kv_heads * self.size)
        self.o_proj = nn.Linear(self.heads * self.size, c["hidden"], bias=False)
        self.watched, self.seen = False, None  # training may look at the queries and keys of a layer

    def forward(self, x, cos, sin, mask, cache=None):
        b, n, _ = x.shape
        qkv = F.linear(x, *linear_of(self.q_proj, self.k_proj, self.v_proj)).view(b, n, -1, self.size).transpose(1, 2)
        qk, v = qkv.split((self.heads + self.kv_heads, self.kv_heads), 1)
        q, k = rotate(qk, cos[:, None], sin[:, None]).split((self.heads, self.kv_heads), 1)
        if self.watched:
            self.seen = q, k
        if cache is not None:
            k, v = cache.put(self, k, v)
        repeat = self.heads // self.kv_heads
        k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.o_proj(out.transpose(1, 2).reshape(b, n, -1))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = Norm(c["hidden"], c["eps"]), Norm(c["hidden"], c["eps"])
        self.self_attn, self.mlp = Attention(c), Mlp(c["hidden"], c["mlp"], False)

    def forward(self, x, cos, sin, mask, cache=None):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Language(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.config = c
        self.embed_tokens = nn.Embedding(c["vocab"], c["hidden"])
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["layers"]))
        self.norm = Norm(c["hidden"], c["eps"])

    def rope(self, positions):
        """positions [3, B, L] -> cos, sin [B, L, head/2]; each frequency belongs to one of the axes t, h, w."""
        half = self.config["head_size"] // 2
        frequency = self.config["theta"] ** (-torch.arange(half) / half)
        axis = torch.repeat_interleave(torch.arange(3), torch.tensor(self.config["sections"]))
        angle = positions.float()[axis].permute(1, 2, 0) * frequency
        return angle.cos(), angle.sin()

    def forward(self, x, positions, mask, cache=None, keep=()):
        """x [B, L, H]; returns the normed last states and the states after the layers named in keep."""
        cos, sin = self.rope(positions)
        kept = []
        for i, layer in enumerate(self.layers):
            x = layer(x, cos, sin, mask, cache)
            if i + 1 in keep:
                kept.append(x)
        return self.norm(x), kept


class Qwen(nn.Module):
    """model.* and visual.* (and lm_head.weight when not tied), as published."""

    def __init__(self, config=CONFIG):
        super().__init__()
        self.config = config
        self.model, self.visual = Language(config), Vision(config)
        if not config["tied"]:
            self.lm_head = nn.Linear(config["hidden"], config["vocab"], bias=False)

    def logits(self, states):
        return F.linear(states, self.model.embed_tokens.weight if self.config["tied"] else self.lm_head.weight)

    def start(self):
        """Initial weights: 1/sqrt(fan in) for matrices, and quieter layers that write to the residual stream."""
        for name, p in self.named_parameters():
            if p.dim() == 1:
                nn.init.zeros_(p) if name.endswith("bias") else nn.init.ones_(p)
            elif "embed_tokens" in name:
                nn.init.normal_(p, std=0.02)
            else:
                quiet = 0.4 if any(s in name for s in ("o_proj", "down_proj", "attn.proj")) else 1.0
                nn.init.normal_(p, std=quiet * p[0].numel() ** -0.5)


class Cache:
    """Keys and values of a batch while it is decoded: row b's next token goes to place[b]; the first
    `used` places can hold something."""

    def __init__(self, capacity):
        self.capacity, self.store, self.place, self.used = capacity, {}, None, capacity

    def put(self, owner, k, v):
        if id(owner) not in self.store:
            shape = k.shape[:2] + (self.capacity,) + k.shape[3:]
            self.store[id(owner)] = k.new_zeros(shape), v.new_zeros(shape)
        keys, values = self.store[id(owner)]
        where = self.place[:, None, :, None].expand_as(k)  # place [B, new tokens]
        keys.scatter_(2, where, k)
        values.scatter_(2, where, v)
        return keys[:, :, :self.used], values[:, :, :self.used]

    def repeat(self, counts):
        """Row b becomes counts[b] rows: one prefix, several questions."""
        self.store = {name: tuple(x.repeat_interleave(counts, 0) for x in kv) for name, kv in self.store.items()}


def load(folder):
    from safetensors.torch import load_file
    model = Qwen(read_config(folder))
    state = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            state.update({k: v.float() for k, v in load_file(os.path.join(folder, name)).items()})
    model.load_state_dict(state)
    return model
