#!/usr/bin/env python3
"""Makes tests/golden/data: a tiny Qwen2.5-VL checkpoint with random weights and reference values for
every stage, computed in numpy float64 from the architecture's definition, independent of the C code.

    python3 tests/golden/make_golden.py OUT            writes the vectors
    python3 tests/golden/make_golden.py --check DIR    runs the same reference over other vectors
    python3 tests/golden/make_golden.py --tolerances DIR
        writes DIR/tolerances.json: how far the same reference is off when each of its operations
        rounds its result to bf16

Needs numpy, torch (bicubic resizing only), regex, jinja2. Never needed to build, run or test whend.
"""

import json
import math
import os
import sys

import numpy as np

PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
           r"|\s*[\r\n]+|\s+(?!\S)|\s+")
TEMPLATE = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for c in m['content'] %}"
    "{% if c['type'] == 'text' %}{{ c['text'] }}{% else %}<|vision_start|><|{{ c['type'] }}_pad|>"
    "<|vision_end|>{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>",
           "<|object_ref_end|>", "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>",
           "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>",
           "<|video_pad|>"]
PLAIN_ADDED = ["<tool_call>", "</tool_call>"]
TEXT = """When did a red car drive past the gate? A person walks by, then the door opens and the
lamp is on. You are a helpful assistant. user system start_time end_time description [{"start_time":
"00:03.50","end_time":"00:06.00","description":"a red car drives past"}] Locate the events in the
video and answer with JSON. It's what they've seen; I'll say we're done, don't you? A dog runs past
the wall while a blue car stops at the gate and a white car drives past the yard.
"""


# ---------------------------------------------------------------- tokenizer

def alphabet():
    """byte -> the character that stands for it in vocabularies"""
    table, shifted = {}, 0
    for b in range(256):
        if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174:
            table[b] = chr(b)
        else:
            table[b] = chr(256 + shifted)
            shifted += 1
    return table


class Tokenizer:
    def __init__(self, vocab, merges, added):
        self.chars = alphabet()
        self.bytes = {c: b for b, c in self.chars.items()}
        self.vocab, self.added = vocab, added
        self.ranks = {pair: i for i, pair in enumerate(merges)}
        self.content = {i: t for t, i in vocab.items()}
        self.added_content = {i: t for t, (i, _) in added.items()}

    @classmethod
    def train(cls, text, n_merges):
        import regex
        chars = alphabet()
        words = [[chars[b] for b in w.encode()] for w in regex.findall(PATTERN, text)]
        vocab = {chars[b]: b for b in range(256)}
        merges = []
        while len(merges) < n_merges:
            counts = {}
            for w in words:
                for pair in zip(w, w[1:]):
                    counts[pair] = counts.get(pair, 0) + 1
            best = max(counts, key=lambda p: (counts[p], p))
            merges.append(best)
            vocab[best[0] + best[1]] = len(vocab)
            words = [cls.merge(w, best) for w in words]
        added = {}
        for i, t in enumerate(SPECIAL + PLAIN_ADDED):
            added[t] = (len(vocab) + i, t in SPECIAL)
        return cls(vocab, merges, added)

    @staticmethod
    def merge(word, pair):
        out, i = [], 0
        while i < len(word):
            if i + 1 < len(word) and (word[i], word[i + 1]) == pair:
                out.append(word[i] + word[i + 1])
                i += 2
            else:
                out.append(word[i])
                i += 1
        return out

    def encode(self, text):
        import regex
        import unicodedata
        ids = []
        names = sorted(self.added, key=len, reverse=True)
        for part in regex.split("(" + "|".join(regex.escape(n) for n in names) + ")", text):
            if part in self.added:
                ids.append(self.added[part][0])
                continue
            for piece in regex.findall(PATTERN, unicodedata.normalize("NFC", part)):
                word = [self.chars[b] for b in piece.encode()]
                while len(word) > 1:
                    pair = min(zip(word, word[1:]), key=lambda p: self.ranks.get(p, 1 << 30))
                    if pair not in self.ranks:
                        break
                    word = self.merge(word, pair)
                ids += [self.vocab[w] for w in word]
        return ids

    def token_bytes(self, i):
        if i in self.added_content:
            return self.added_content[i].encode()
        return bytes(self.bytes[c] for c in self.content[i])

    def special(self, i):
        return i in self.added_content and self.added[self.added_content[i]][1]


# ---------------------------------------------------------------- files

def bf16(x):
    """round to nearest even bfloat16, as uint16"""
    bits = np.asarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7fff + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def widen(u):
    return (u.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def save_safetensors(path, tensors, dtype):
    header, data, at = {}, b"", 0
    for name in sorted(tensors):
        raw = tensors[name].tobytes()
        header[name] = {"dtype": dtype, "shape": list(tensors[name].shape),
                        "data_offsets": [at, at + len(raw)]}
        data += raw
        at += len(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text + data)


def load_safetensors(path):
    raw = open(path, "rb").read()
    n = int.from_bytes(raw[:8], "little")
    out = {}
    for name, e in json.loads(raw[8:8 + n]).items():
        if name == "__metadata__":
            continue
        a, b = (8 + n + o for o in e["data_offsets"])
        kind = {"BF16": np.uint16, "F32": np.float32}[e["dtype"]]
        x = np.frombuffer(raw[a:b], kind).reshape(e["shape"])
        out[name] = widen(x) if e["dtype"] == "BF16" else x.astype(np.float64)
    return out


def load_model(directory):
    index = os.path.join(directory, "model.safetensors.index.json")
    files = {"model.safetensors"}
    if os.path.exists(index):
        files = set(json.load(open(index))["weight_map"].values())
    weights = {}
    for name in files:
        weights.update(load_safetensors(os.path.join(directory, name)))
    return json.load(open(os.path.join(directory, "config.json"))), weights


def dump(path, obj):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        json.dump(obj, f, indent=1)
        f.write("\n")


def lines(path, objs):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        for o in objs:
            f.write(json.dumps(o) + "\n")


def save(path, array, dtype):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    np.save(path, np.ascontiguousarray(array).astype(dtype))


# ---------------------------------------------------------------- model, float64

ROUNDS = [False]  # --tolerances: operations give bf16


def op(x):
    """the result of an operation"""
    return widen(bf16(x)) if ROUNDS[0] else x


def rms(x, w, eps):
    return op(op(x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)) * w)


def silu(x):
    return op(x / (1 + np.exp(-x)))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return op(e / e.sum(-1, keepdims=True))


def rotate(x, cos, sin):
    """x [L, heads, d]; cos, sin [L, d]; pairs i with i + d/2"""
    half = x.shape[-1] // 2
    turned = np.concatenate([-x[..., half:], x[..., :half]], -1)
    return op(x * cos[:, None] + turned * sin[:, None])


def linear(x, w, name):
    y = x @ w[name + ".weight"].T
    return op(y + w[name + ".bias"] if name + ".bias" in w else y)


def patches(frames, mean, std, merge=2, p=14):
    """[T, H, W, 3] u8 -> [n, 1176], grid"""
    x = (frames.astype(np.float64) / 255 - mean) / std
    if len(x) % 2:
        x = np.concatenate([x, x[-1:]])
    t, h, w = len(x) // 2, x.shape[1] // p, x.shape[2] // p
    x = x.reshape(t, 2, h // merge, merge, p, w // merge, merge, p, 3)
    x = x.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7)
    return x.reshape(t * h * w, -1), [t, h, w]


class Vision:
    def __init__(self, config, weights):
        v = config["vision_config"]
        self.w = {k[7:]: x for k, x in weights.items() if k.startswith("visual.")}
        self.hidden, self.heads, self.depth = v["hidden_size"], v["num_heads"], v["depth"]
        self.full, self.merge = v["fullatt_block_indexes"], v["spatial_merge_size"]
        self.window = v["window_size"] // v["patch_size"] // self.merge
        self.d = self.hidden // self.heads

    def positions(self, grid):
        t, h, w = grid
        m = self.merge
        r = np.arange(h)[:, None].repeat(w, 1)
        c = np.arange(w)[None].repeat(h, 0)
        order = [a.reshape(h // m, m, w // m, m).transpose(0, 2, 1, 3).reshape(-1) for a in (r, c)]
        return np.tile(np.stack(order, -1), (t, 1))

    def rope(self, position):
        inverse = 10000.0 ** -(np.arange(0, self.d // 2, 2) / (self.d // 2))
        f = (position[:, :, None] * inverse).reshape(len(position), -1)
        f = np.concatenate([f, f], -1)
        return np.cos(f), np.sin(f)

    def windows(self, grid):
        """merged units in window order, and patch boundaries of the windows that are not empty"""
        t, h, w = grid[0], grid[1] // self.merge, grid[2] // self.merge
        order, ends, s = [], [0], self.window
        for k in range(t):
            for y in range(0, h, s):
                for x in range(0, w, s):
                    units = [k * h * w + r * w + c for r in range(y, min(y + s, h))
                             for c in range(x, min(x + s, w))]
                    order += units
                    ends.append(ends[-1] + len(units) * self.merge ** 2)
        return np.array(order), np.array(ends)

    def attention(self, x, name, cos, sin, bounds):
        qkv = linear(x, self.w, name + ".qkv").reshape(len(x), 3, self.heads, self.d)
        q, k, v = rotate(qkv[:, 0], cos, sin), rotate(qkv[:, 1], cos, sin), qkv[:, 2]
        out = np.zeros_like(q)
        for a, b in zip(bounds, bounds[1:]):
            scores = op(np.einsum("qhd,khd->hqk", q[a:b], k[a:b]) / math.sqrt(self.d))
            out[a:b] = op(np.einsum("hqk,khd->qhd", softmax(scores), v[a:b]))
        return linear(out.reshape(len(x), -1), self.w, name + ".proj")

    def run(self, pixels, grid):
        w, unit = self.w, self.merge ** 2
        embed = op(op(pixels) @ w["patch_embed.proj.weight"].reshape(self.hidden, -1).T)
        out = {"patch_embed": embed}
        position = self.positions(grid)
        cos, sin = self.rope(position)
        order, bounds = self.windows(grid)
        frames = np.arange(grid[0] + 1) * grid[1] * grid[2]
        out.update(position_hw=position, rope_cos=cos, rope_sin=sin, window_index=order,
                   cu_seqlens=frames, cu_window_seqlens=bounds)
        rows = (order[:, None] * unit + np.arange(unit)).reshape(-1)
        x, cos, sin = out["patch_embed"][rows], cos[rows], sin[rows]
        for i in range(self.depth):
            b = f"blocks.{i}"
            y = self.attention(rms(x, w[b + ".norm1.weight"], 1e-6), b + ".attn", cos, sin,
                               frames if i in self.full else bounds)
            x = op(x + y)
            y = rms(x, w[b + ".norm2.weight"], 1e-6)
            y = op(silu(linear(y, w, b + ".mlp.gate_proj")) * linear(y, w, b + ".mlp.up_proj"))
            x = op(x + linear(y, w, b + ".mlp.down_proj"))
            out[f"block_{i:02d}"] = x
        y = rms(x, w["merger.ln_q.weight"], 1e-6).reshape(len(order), -1)
        y = linear(y, w, "merger.mlp.0")
        y = op(y * 0.5 * (1 + np.vectorize(math.erf)(y / math.sqrt(2))))
        out["merger"] = linear(y, w, "merger.mlp.2")[np.argsort(order)]
        return out


class Language:
    def __init__(self, config, weights, lora=None):
        c = config.get("text_config", config)
        rope = c.get("rope_parameters") or c["rope_scaling"]
        self.w = dict(weights)
        if config.get("tie_word_embeddings"):
            self.w["lm_head.weight"] = self.w["model.embed_tokens.weight"]
        for name, delta in (lora or {}).items():
            self.w[name] = self.w[name] + delta
        self.heads, self.kv = c["num_attention_heads"], c["num_key_value_heads"]
        self.d = c["hidden_size"] // self.heads
        self.eps, self.layers = c["rms_norm_eps"], c["num_hidden_layers"]
        self.theta = rope.get("rope_theta", c.get("rope_theta"))
        self.section = rope["mrope_section"]
        self.pads = (config["image_token_id"], config["video_token_id"])

    def embed(self, ids, visual):
        x = self.w["model.embed_tokens.weight"][ids].copy()
        if visual is not None:
            x[np.isin(ids, self.pads)] = visual
        return x

    def rope(self, position):
        inverse = self.theta ** -(np.arange(0, self.d, 2) / self.d)
        axis = np.repeat([0, 1, 2], self.section)  # which row turns which frequency
        f = position[axis].T * inverse
        f = np.concatenate([f, f], -1)
        return np.cos(f), np.sin(f)

    def run(self, x, position):
        w, n = self.w, len(x)
        cos, sin = self.rope(np.asarray(position, np.float64))
        mask = np.triu(np.full((n, n), -np.inf), 1)
        out = {}
        for i in range(self.layers):
            p = f"model.layers.{i}"
            y = rms(x, w[p + ".input_layernorm.weight"], self.eps)
            q, k, v = (linear(y, w, f"{p}.self_attn.{s}_proj").reshape(n, -1, self.d)
                       for s in "qkv")
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
            k, v = (np.repeat(a, self.heads // self.kv, 1) for a in (k, v))
            scores = op(np.einsum("qhd,khd->hqk", q, k) / math.sqrt(self.d)) + mask
            y = op(np.einsum("hqk,khd->qhd", softmax(scores), v).reshape(n, -1))
            x = op(x + linear(y, w, p + ".self_attn.o_proj"))
            y = rms(x, w[p + ".post_attention_layernorm.weight"], self.eps)
            y = op(silu(linear(y, w, p + ".mlp.gate_proj")) * linear(y, w, p + ".mlp.up_proj"))
            x = op(x + linear(y, w, p + ".mlp.down_proj"))
            out[f"layer_{i:02d}"] = x
        out["final_norm"] = rms(x, w["model.norm.weight"], self.eps)
        out["logits"] = op(out["final_norm"] @ w["lm_head.weight"].T)
        return out

    def greedy(self, ids, visual, position, steps, eos, penalty=1.0):
        """the whole prompt again at every step: slow, and nothing to get wrong"""
        ids, rows, first = list(ids), [], int(position.max()) + 1
        for step in range(steps):
            logits = self.run(self.embed(np.array(ids), visual), position)["logits"][-1]
            if penalty != 1.0:
                seen = np.unique(ids)
                logits[seen] = np.where(logits[seen] > 0, logits[seen] / penalty,
                                        logits[seen] * penalty)
            top = np.argsort(-logits, kind="stable")[:5]
            rows.append({"step": step, "id": int(top[0]), "position": first + step,
                         "log_prob": round(float(np.log(softmax(logits)[top[0]])), 7),
                         "margin": round(float(logits[top[0]] - logits[top[1]]), 6),
                         "top5_ids": [int(t) for t in top],
                         "top5_logits": [round(float(logits[t]), 6) for t in top]})
            if top[0] in eos:
                break
            ids.append(int(top[0]))
            position = np.concatenate([position, np.full((3, 1), first + step)], 1)
        return rows


def mrope(segments, tokens_per_second, merge=2):
    rows, start = [], 0
    for s in segments:
        if s["type"] == "text":
            p = np.tile(np.arange(start, start + s["len"]), (3, 1))
        else:
            t, h, w = s["grid"][0], s["grid"][1] // merge, s["grid"][2] // merge
            times = np.zeros(t, np.int64)
            if s["type"] == "video":
                times = np.trunc(np.float32(np.arange(t) * np.float64(s["second_per_grid"]))
                                 * np.float32(tokens_per_second)).astype(np.int64)
            k, y, x = np.meshgrid(times, np.arange(h), np.arange(w), indexing="ij")
            p = np.stack([k.reshape(-1), y.reshape(-1), x.reshape(-1)]) + start
        rows.append(p)
        start = int(p.max()) + 1
    return np.concatenate(rows, 1), start


# ---------------------------------------------------------------- the vectors

NAME, VOCAB, HIDDEN, LAYERS = "tiny", 392, 32, 2
V_HIDDEN, V_DEPTH = 16, 3


def make_checkpoint(out, tok, rng):
    ids = {t: i for t, (i, _) in tok.added.items()}
    config = {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl",
        "hidden_act": "silu", "hidden_size": HIDDEN, "intermediate_size": 44,
        "num_attention_heads": 2, "num_key_value_heads": 1, "num_hidden_layers": LAYERS,
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
        "tie_word_embeddings": True, "use_sliding_window": False, "vocab_size": VOCAB,
        "eos_token_id": ids["<|im_end|>"], "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"], "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "vision_config": {"depth": V_DEPTH, "hidden_size": V_HIDDEN, "intermediate_size": 20,
                          "num_heads": 2, "in_chans": 3, "out_hidden_size": HIDDEN,
                          "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2,
                          "window_size": 56, "fullatt_block_indexes": [1],
                          "tokens_per_second": 2, "hidden_act": "silu"}}
    w = {}

    def random(name, *shape, scale=None):
        scale = scale or 1 / math.sqrt(shape[-1] if len(shape) < 3 else np.prod(shape[1:]))
        w[name] = bf16(rng.normal(0, scale, shape))

    def norm(name, n):
        w[name] = bf16(rng.normal(1, 0.1, n))

    random("visual.patch_embed.proj.weight", V_HIDDEN, 3, 2, 14, 14)
    for i in range(V_DEPTH):
        b = f"visual.blocks.{i}"
        norm(b + ".norm1.weight", V_HIDDEN)
        norm(b + ".norm2.weight", V_HIDDEN)
        for name, o, n in (("attn.qkv", 3 * V_HIDDEN, V_HIDDEN), ("attn.proj", V_HIDDEN, V_HIDDEN),
                           ("mlp.gate_proj", 20, V_HIDDEN), ("mlp.up_proj", 20, V_HIDDEN),
                           ("mlp.down_proj", V_HIDDEN, 20)):
            random(f"{b}.{name}.weight", o, n, scale=1.5 / math.sqrt(n))
            random(f"{b}.{name}.bias", o, scale=0.1)
    norm("visual.merger.ln_q.weight", V_HIDDEN)
    random("visual.merger.mlp.0.weight", 4 * V_HIDDEN, 4 * V_HIDDEN)
    random("visual.merger.mlp.0.bias", 4 * V_HIDDEN, scale=0.1)
    random("visual.merger.mlp.2.weight", HIDDEN, 4 * V_HIDDEN)
    random("visual.merger.mlp.2.bias", HIDDEN, scale=0.1)
    random("model.embed_tokens.weight", VOCAB, HIDDEN, scale=1.0)
    w["model.embed_tokens.weight"][len(tok.vocab) + len(tok.added):] = 0
    for i in range(LAYERS):
        p = f"model.layers.{i}"
        norm(p + ".input_layernorm.weight", HIDDEN)
        norm(p + ".post_attention_layernorm.weight", HIDDEN)
        for name, o in (("q", HIDDEN), ("k", 16), ("v", 16)):
            random(f"{p}.self_attn.{name}_proj.weight", o, HIDDEN, scale=2 / math.sqrt(HIDDEN))
            random(f"{p}.self_attn.{name}_proj.bias", o, scale=0.3)
        random(f"{p}.self_attn.o_proj.weight", HIDDEN, HIDDEN, scale=2 / math.sqrt(HIDDEN))
        for name, o, n in (("gate", 44, HIDDEN), ("up", 44, HIDDEN), ("down", HIDDEN, 44)):
            random(f"{p}.mlp.{name}_proj.weight", o, n, scale=2 / math.sqrt(n))
    norm("model.norm.weight", HIDDEN)
    d = f"{out}/00_checkpoints/{NAME}"
    dump(d + "/config.json", config)
    dump(d + "/generation_config.json", {"eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
                                         "repetition_penalty": 1.05})
    dump(d + "/preprocessor_config.json", {
        "min_pixels": 784, "max_pixels": 12845056, "patch_size": 14, "temporal_patch_size": 2,
        "merge_size": 2, "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711]})
    dump(d + "/chat_template.json", {"chat_template": TEMPLATE})
    added = [{"id": i, "content": t, "special": s, "normalized": False, "lstrip": False,
              "rstrip": False, "single_word": False} for t, (i, s) in tok.added.items()]
    with open(d + "/tokenizer.json", "w") as f:
        json.dump({"version": "1.0", "added_tokens": added, "normalizer": {"type": "NFC"},
                   "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                       {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated"},
                       {"type": "ByteLevel", "use_regex": False}]},
                   "model": {"type": "BPE", "vocab": tok.vocab,
                             "merges": [list(m) for m in tok.ranks]}}, f,
                  separators=(",", ":"))
    save_safetensors(d + "/model.safetensors", w, "BF16")
    return d, config, {k: widen(x) for k, x in w.items()}


def make_tokenizer_cases(out, tok):
    texts = ["", " ", "   ", "a", "When did a red car drive past?", "It's I'LL we'Re THEY'D",
             "x'\u017f", "e\u0301 caf\u00e9 \u212b", "tabs\tand\r\nlines\n\n  end  ",
             "<|im_start|>user\n<tool_call>{}</tool_call><|im_end|>", "<|im_start", "123 4.5\u0663",
             "\u4e2d\u6587\u5b57 \U0001f600\U0001f468\u200d\U0001f469", "  leading", "a  b\u00a0 c",
             "[{\"start_time\":\"00:03.50\",\"end_time\":\"00:06.00\"}]", "\u0939\u093f\u0928",
             "x\u0301\u0316y", "...!!!\n\n...", "\u2028 \u3000x"]
    lines(f"{out}/01_tokenizer/encode_cases.jsonl",
          [{"text": t, "ids": tok.encode(t)} for t in texts])
    cases = []
    for t in texts[1:]:
        ids = tok.encode(t)
        for cut in [len(ids) - 1] if t.isascii() else [len(ids), len(ids) - 1]:
            part = ids[:cut]
            if not part:
                continue
            each = [tok.token_bytes(i) for i in part]
            kept = [b for i, b in zip(part, each) if not tok.special(i)]
            cases.append({"ids": part, "per_token_bytes_hex": [b.hex() for b in each],
                          "bytes_hex": b"".join(each).hex(),
                          "text": b"".join(each).decode("utf-8", "replace"),
                          "bytes_hex_skip_special": b"".join(kept).hex(),
                          "text_skip_special": b"".join(kept).decode("utf-8", "replace")})
    lines(f"{out}/01_tokenizer/decode_cases.jsonl", cases)


def expand(ids, pads, grids):
    out, k = [], 0
    for i in ids:
        times = 1
        if i in pads:
            times = grids[k][0] * grids[k][1] * grids[k][2] // 4
            k += 1
        out += [i] * times
    return out


def render(messages, generate=True):
    import jinja2
    return jinja2.Environment().from_string(TEMPLATE).render(
        messages=messages, add_generation_prompt=generate)


def make_chat_cases(out, tok, pads):
    image, video = {"type": "image"}, {"type": "video"}

    def text(t):
        return {"type": "text", "text": t}

    cases = []
    for messages, grids, generate in (
            ([{"role": "user", "content": "when?"}], [], True),
            ([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "x"}], [],
             True),
            ([{"role": "user", "content": [video, text("When did a car stop?")]}], [[2, 4, 6]],
             True),
            ([{"role": "user", "content": [text("A "), image, text(" B "), video]},
              {"role": "assistant", "content": "yes"}], [[1, 2, 2], [3, 2, 4]], False)):
        rendered = render(messages, generate)
        ids = tok.encode(rendered)
        cases.append({"messages": messages, "options": {"add_generation_prompt": generate},
                      "text": rendered, "ids": ids, "grids_thw": grids,
                      "ids_expanded": expand(ids, pads, grids)})
    lines(f"{out}/02_chat_template/cases.jsonl", cases)


def make_sizes(out):
    """rows worked out from the published rule, with exact integer rounding"""
    def near(x, f):
        q, r = divmod(x, f)
        return (q + (2 * r > f or (2 * r == f and q % 2))) * f

    rows = ["height,width,factor,min_pixels,max_pixels,out_height,out_width,error"]
    for h, w in ((14, 14), (42, 70), (480, 640), (1080, 1920), (28, 28), (56, 5000), (97, 101),
                 (3000, 4000), (1, 201)):
        for lo, hi in ((3136, 12845056), (100352, 602112), (12544, 37632)):
            if max(h, w) / min(h, w) > 200:
                rows.append(f"{h},{w},28,{lo},{hi},,,aspect_ratio_over_200")
                continue
            a, b = max(28, near(h, 28)), max(28, near(w, 28))
            if a * b > hi:
                beta = math.sqrt(h * w / hi)
                a, b = math.floor(h / beta / 28) * 28, math.floor(w / beta / 28) * 28
            elif a * b < lo:
                beta = math.sqrt(lo / (h * w))
                a, b = math.ceil(h * beta / 28) * 28, math.ceil(w * beta / 28) * 28
            rows.append(f"{h},{w},28,{lo},{hi},{a},{b}," + ("zero_side" if a * b == 0 else ""))
    os.makedirs(f"{out}/03_resize_sampling", exist_ok=True)
    with open(f"{out}/03_resize_sampling/smart_resize.csv", "w") as f:
        f.write("\n".join(rows) + "\n")
    # Spacings whose indices are far from a tie, so that float32 and float64 agree.
    rows = ["total_frames,video_fps,fps,nframes,min_frames,max_frames,video_start,video_end,"
            "out_nframes,error,indices_that_differ_in_float64,indices"]
    for total, fps, want in ((120, 10, 2), (100, 25, 2), (17, 8, 4), (250, 30, 1)):
        n = min(max(total / fps * want, 4), total)
        n = int(n) // 2 * 2
        index = [round(i * (total - 1) / (n - 1)) for i in range(n)]
        rows.append(f"{total},{fps},{want},,,,,,{n},,0,{' '.join(map(str, index))}")
    rows.append("1,30,2,,,,,,,bad_frame_count,,")
    with open(f"{out}/03_resize_sampling/frame_sampling.csv", "w") as f:
        f.write("\n".join(rows) + "\n")
    rows = ["nframes,height,width,min_pixels,max_pixels,total_pixels,resized_height,resized_width,"
            "used_max_pixels,out_height,out_width,error"]
    rows.append("2,480,640,,,,,,602112,476,644,")
    rows.append("24,120,160,12544,,,,,602112,112,168,")
    with open(f"{out}/03_resize_sampling/video_pixel_budget.csv", "w") as f:
        f.write("\n".join(rows) + "\n")


def make_mrope_cases(out):
    cases, arrays, at = [], [], 0
    for segments, tps in (
            ([("text", 7)], 2), ([("text", 2), ("image", [1, 4, 6]), ("text", 3)], 2),
            ([("text", 3), ("video", [4, 4, 2], 1.0), ("text", 2)], 2),
            ([("text", 3), ("video", [5, 2, 2], 0.3336), ("text", 2)], 25),
            ([("video", [3, 4, 4], 9.375), ("text", 1), ("image", [1, 2, 8]), ("text", 2)], 4)):
        s = [{"type": "text", "len": x[1]} if x[0] == "text" else
             {"type": x[0], "grid": x[1], **({"second_per_grid": x[2]} if len(x) > 2 else {})}
             for x in segments]
        p, after = mrope(s, tps)
        n = p.shape[1]
        cases.append({"case": len(cases), "tokens_per_second": tps, "spatial_merge_size": 2,
                      "segments": s, "offset": at, "length": n, "rope_delta": after - n,
                      "first_decode_position": after})
        arrays.append(p)
        at += n
    lines(f"{out}/04_mrope/cases.jsonl", cases)
    save(f"{out}/04_mrope/position_ids_i32.npy", np.concatenate(arrays, 1), np.int32)


def make_pixels(out, config_dir, rng):
    import torch
    pre = json.load(open(config_dir + "/preprocessor_config.json"))
    made = {}
    for name, (t, h, w), (oh, ow) in (("img_ragged", (1, 25, 90), (28, 84)),
                                      ("vid_odd", (3, 22, 25), (28, 28))):
        y, x = np.mgrid[0:h, 0:w]
        frames = np.stack([np.stack([127 + 120 * np.sin(x / 5 + k + c) * np.cos(y / 7 - c)
                                     for c in range(3)], -1) for k in range(t)])
        frames = np.clip(frames + rng.normal(0, 8, frames.shape), 0, 255).astype(np.uint8)
        resized = torch.nn.functional.interpolate(
            torch.from_numpy(frames.transpose(0, 3, 1, 2).astype(np.float32)), (oh, ow),
            mode="bicubic", antialias=True).clamp(0, 255).round().numpy()
        resized = resized.transpose(0, 2, 3, 1).astype(np.uint8)
        pixels, grid = patches(resized, np.array(pre["image_mean"]), np.array(pre["image_std"]))
        d = f"{out}/05_preprocess/{name}"
        save(d + "/frames_u8.npy", frames, np.uint8)
        save(d + "/resized_u8.npy", resized, np.uint8)
        save(d + "/pixel_values_f32.npy", pixels, np.float32)
        dump(d + "/meta.json", {"frames": t, "height": h, "width": w, "resized_height": oh,
                                "resized_width": ow, "grid_thw": grid, "n_patches": len(pixels),
                                "visual_tokens": len(pixels) // 4})
        made[name] = (pixels.astype(np.float32).astype(np.float64), grid)
    return made


def make_vision(out, vision, pixels):
    visual = {}
    for name, (x, grid) in pixels.items():
        d, result = f"{out}/06_vit/{NAME}/{name}", vision.run(x, grid)
        for key, a in result.items():
            whole = key in ("position_hw", "window_index", "cu_seqlens", "cu_window_seqlens")
            save(f"{d}/{key}_{'i32' if whole else 'f32'}.npy", a, np.int32 if whole else np.float32)
        ends = result["cu_window_seqlens"]
        dump(d + "/meta.json", {"checkpoint": NAME, "grid_thw": grid,
                                "pixel_values": f"05_preprocess/{name}/pixel_values_f32.npy",
                                "window_size": 56, "n_windows": len(ends) - 1,
                                "window_lengths": np.diff(ends).tolist(),
                                "fullatt_block_indexes": vision.full})
        visual[name] = (result["merger"].astype(np.float32).astype(np.float64), grid)
    return visual


def segments_of(ids, pads, grid, second_per_grid):
    where = np.flatnonzero(np.isin(ids, pads))
    if not len(where):
        return [{"type": "text", "len": len(ids)}]
    a, b = int(where[0]), int(where[-1]) + 1
    kind = {"type": "image", "grid": grid}
    if second_per_grid:
        kind = {"type": "video", "grid": grid, "second_per_grid": second_per_grid}
    return [{"type": "text", "len": a}, kind, {"type": "text", "len": len(ids) - b}]


def save_greedy(path, rows, least):
    margin = min(r["margin"] for r in rows)
    assert margin > least, f"{path}: margin {margin}: take another seed"
    lines(path, rows)


def make_language(out, tok, config, weights, visual, rng):
    model = Language(config, weights)
    eos = [config["eos_token_id"]]
    prompts = {}
    for kind, name, spg in (("text", None, None), ("image", "img_ragged", None),
                            ("video", "vid_odd", 1.6)):
        content = [{"type": "text", "text": f"{kind} gate?"}]
        if kind != "text":
            content.insert(0, {"type": kind})
        rendered = render([{"role": "system", "content": "x"}, {"role": "user", "content": content}])
        tokens, grid = visual[name] if name else (None, None)
        ids = np.array(expand(tok.encode(rendered), model.pads, [grid] if grid else []))
        segments = segments_of(ids, model.pads, grid, spg)
        position, after = mrope(segments, 2)
        x = model.embed(ids, tokens)
        result = model.run(x, position)
        d = f"{out}/07_llm/{NAME}/{kind}"
        at = np.arange(0, len(ids), 18)
        at = np.append(at, len(ids) - 1) if at[-1] != len(ids) - 1 else at
        dump(d + "/prompt.json", {
            "checkpoint": NAME, "kind": kind, "rendered": rendered, "length": len(ids),
            "segments": segments, "tokens_per_second": 2, "grid_thw": grid,
            "second_per_grid": spg, "fps": 2 / spg if spg else None,
            "pixel_values": f"05_preprocess/{name}/pixel_values_f32.npy" if name else None,
            "rope_delta": after - len(ids), "eos_token_ids": eos})
        save(d + "/input_ids_i32.npy", ids, np.int32)
        save(d + "/position_ids_i32.npy", position, np.int32)
        save(d + "/inputs_embeds_f32.npy", x, np.float32)
        for key, a in result.items():
            if key == "logits":
                save(d + "/logits_f32.npy", a[at], np.float32)
                save(d + "/logit_positions_i32.npy", at, np.int32)
            else:
                save(f"{d}/{key}_f32.npy", a, np.float32)
        save_greedy(d + "/greedy_f32.jsonl", model.greedy(ids, tokens, position, 8, eos), 1e-3)
        if kind == "text":
            save_greedy(d + "/greedy_f32_repetition_penalty_1.05.jsonl",
                        model.greedy(ids, tokens, position, 8, eos, 1.05), 1e-3)
            greedy = [r["id"] for r in model.greedy(ids, tokens, position, 8, eos)]
            stop = greedy[len(greedy) // 2]
            dump(d + "/stop_case.json", {"eos_token_ids": [stop],
                                         "ids": greedy[:greedy.index(stop) + 1]})
        prompts[kind] = (ids, tokens, position, at)
    make_lora(out, config, weights, prompts, eos, rng)


def make_lora(out, config, weights, prompts, eos, rng, r=2, alpha=8):
    tensors, delta = {}, {}
    for name, w in weights.items():
        if name.startswith("model.layers.0.") and name.endswith("_proj.weight"):
            a = rng.normal(0, 0.2, (r, w.shape[1])).astype(np.float32)
            b = rng.normal(0, 0.1, (w.shape[0], r)).astype(np.float32)
            delta[name] = alpha / r * b.astype(np.float64) @ a.astype(np.float64)
            tensors[name[:-7]] = (a, b)
    for folder, prefix in (("adapter", "base_model.model.model.language_model."),
                           ("adapter_older_key_names", "base_model.model.model.")):
        named = {}
        for name, (a, b) in tensors.items():
            named[prefix + name[6:] + ".lora_A.weight"] = a
            named[prefix + name[6:] + ".lora_B.weight"] = b
        dump(f"{out}/08_lora/{folder}/adapter_config.json",
             {"peft_type": "LORA", "r": r, "lora_alpha": alpha, "use_rslora": False,
              "bias": "none", "use_dora": False, "fan_in_fan_out": False})
        save_safetensors(f"{out}/08_lora/{folder}/adapter_model.safetensors", named, "F32")
    model = Language(config, weights, delta)
    dump(f"{out}/08_lora/meta.json", {
        "checkpoint": NAME, "r": r, "lora_alpha": alpha, "scaling": alpha / r,
        "prompts": [f"07_llm/{NAME}/text", f"07_llm/{NAME}/video"]})
    for kind in ("text", "video"):
        ids, tokens, position, at = prompts[kind]
        result = model.run(model.embed(ids, tokens), position)
        save(f"{out}/08_lora/{kind}_logits_f32.npy", result["logits"][at], np.float32)
        save(f"{out}/08_lora/{kind}_logit_positions_i32.npy", at, np.int32)
        save(f"{out}/08_lora/{kind}_layer_00_f32.npy", result["layer_00"], np.float32)
        save_greedy(f"{out}/08_lora/{kind}_greedy_f32.jsonl",
                    model.greedy(ids, tokens, position, 8, eos), 1e-3)


def make(out):
    rng = np.random.default_rng(20251)
    tok = Tokenizer.train(TEXT, 110)
    directory, config, weights = make_checkpoint(out, tok, rng)
    make_tokenizer_cases(out, tok)
    make_chat_cases(out, tok, (config["image_token_id"], config["video_token_id"]))
    make_sizes(out)
    make_mrope_cases(out)
    pixels = make_pixels(out, directory, rng)
    visual = make_vision(out, Vision(config, weights), pixels)
    make_language(out, tok, config, weights, visual, rng)
    tolerances(out)


def off(got, want):
    """the error's rms over the rms of what is wanted"""
    return {"rel_rms": float(np.sqrt(((got - want) ** 2).sum() / max((want ** 2).sum(), 1e-30)))}


def tolerances(root):
    found = {"vit": {}, "llm": {}}
    ROUNDS[0] = True
    for name in sorted(os.listdir(f"{root}/06_vit")):
        vision = Vision(*load_model(f"{root}/00_checkpoints/{name}"))
        for case in sorted(os.listdir(f"{root}/06_vit/{name}")):
            d = f"{root}/06_vit/{name}/{case}"
            meta = json.load(open(d + "/meta.json"))
            pixels = np.load(f"{root}/{meta['pixel_values']}").astype(np.float64)
            found["vit"].setdefault(name, {})[case] = {
                key: off(a, np.load(f"{d}/{key}_f32.npy").astype(np.float64))
                for key, a in vision.run(pixels, meta["grid_thw"]).items()
                if key in ("patch_embed", "merger") or key.startswith("block")}
    for name in sorted(os.listdir(f"{root}/07_llm")):
        config, weights = load_model(f"{root}/00_checkpoints/{name}")
        language = Language(config, weights)
        for case in sorted(os.listdir(f"{root}/07_llm/{name}")):
            d = f"{root}/07_llm/{name}/{case}"
            prompt = json.load(open(d + "/prompt.json"))
            position, _ = mrope(prompt["segments"], prompt["tokens_per_second"])
            visual = None
            if prompt["pixel_values"]:
                pixels = np.load(f"{root}/{prompt['pixel_values']}").astype(np.float64)
                visual = Vision(config, weights).run(pixels, prompt["grid_thw"])["merger"]
            x = language.embed(np.load(d + "/input_ids_i32.npy"), visual)
            result = language.run(x, position)
            result["logits"] = result["logits"][np.load(d + "/logit_positions_i32.npy")]
            result["inputs_embeds"] = x
            found["llm"].setdefault(name, {})[case] = {
                key: off(a, np.load(f"{d}/{key}_f32.npy").astype(np.float64))
                for key, a in result.items()}
    dump(f"{root}/tolerances.json", found)


def check(root):
    """largest difference over the largest value, of this reference from other vectors"""
    def compare(what, got, path):
        if os.path.exists(path):
            want = np.load(path).astype(np.float64)
            print(f"{what}: {abs(got - want).max() / max(abs(want).max(), 1e-30):.2e}")

    for name in sorted(os.listdir(f"{root}/00_checkpoints")):
        config, weights = load_model(f"{root}/00_checkpoints/{name}")
        for case in sorted(os.listdir(f"{root}/06_vit/{name}")):
            d = f"{root}/06_vit/{name}/{case}"
            meta = json.load(open(d + "/meta.json"))
            pixels = np.load(f"{root}/{meta['pixel_values']}").astype(np.float64)
            for key, a in Vision(config, weights).run(pixels, meta["grid_thw"]).items():
                for kind in ("f32", "i32"):
                    compare(f"06 {name} {case} {key}", a, f"{d}/{key}_{kind}.npy")
        for case in sorted(os.listdir(f"{root}/07_llm/{name}")):
            d = f"{root}/07_llm/{name}/{case}"
            prompt = json.load(open(d + "/prompt.json"))
            position, _ = mrope(prompt["segments"], prompt["tokens_per_second"])
            compare(f"07 {name} {case} position_ids", position, d + "/position_ids_i32.npy")
            if not os.path.exists(d + "/inputs_embeds_f32.npy"):
                continue
            x = np.load(d + "/inputs_embeds_f32.npy").astype(np.float64)
            result = Language(config, weights).run(x, position)
            result["logits"] = result["logits"][np.load(d + "/logit_positions_i32.npy")]
            for key, a in result.items():
                compare(f"07 {name} {case} {key}", a, f"{d}/{key}_f32.npy")


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--check":
        check(sys.argv[2])
    elif len(sys.argv) == 3 and sys.argv[1] == "--tolerances":
        tolerances(sys.argv[2])
    elif len(sys.argv) == 2:
        make(sys.argv[1])
    else:
        sys.exit(__doc__)
