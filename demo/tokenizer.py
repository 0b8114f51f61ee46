"""The demo's tokenizer: byte-level BPE with Qwen's rule for splitting text, learned from the sentences that the demo uses and a
list of ordinary words, and the special tokens of Qwen2.5-VL. Writes tokenizer.json, vocab.json, merges.txt and
tokenizer_config.json; also encodes and decodes, so that training needs no other library.

    tokenizer.py OUTDIR
"""
import collections
import json
import os
import sys
import unicodedata

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
            "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
            "<|image_pad|>", "<|video_pad|>"]
REGEX = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
ENTRIES = 1010  # 256 bytes and what is learned; the specials follow, 1024 in all
WORDS = """a an the this that these is are was were be been being do does did has have had will would can could shall should
may might must not no yes and or but if then else when where who whom whose what which why how many much often long far every
each any some all none both few more most other another same different first last next before after during while until since
again once twice never always still already now today yesterday tomorrow morning noon evening night day week month year hour
minute second time moment start end begin stop find list show tell count describe report answer event events video camera clip
frame scene street road lane pavement wall window door gate garage house building shop entrance exit corner yard garden tree
bench sign light lamp lights person people man woman child boy girl someone anyone nobody worker driver guard visitor dog cat
bird animal horse car cars truck van bus bike bicycle motorcycle scooter train boat plane ball bag box parcel package bottle
chair table phone hat coat shirt umbrella red blue green white black yellow orange brown grey gray pink purple dark bright big
small large little tall short old young new empty full open opens opened closed close closes turn turns turned on off in out
into onto from to at by with without near under over between behind beside past across along around up down left right away
toward towards through drive drives drove driving driven walk walks walked walking run runs ran running ride rides stand stands
sit sits wait waits move moves moved moving enter enters entered leave leaves left arrive arrives arrived depart pass passes
passed passing carry carries pick picks put puts drop drops fall falls jump jumps cross crosses stop stops park parks parked
wave look looks talk talks hold holds push pulls appear appears disappear happen happens happened visible seen lit unlit go goes
went come comes came get gets one two three four five six seven eight nine ten half also only about there here it its he she
they them his her their me my you your we our for of as so than too very just please json time times start_time end_time
description locate system user assistant""".split()


def byte_alphabet():
    """GPT-2's printable stand-in for each byte."""
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table, extra = {}, 0
    for b in range(256):
        if b in keep:
            table[b] = chr(b)
        else:
            table[b], extra = chr(256 + extra), extra + 1
    return table


BYTES = byte_alphabet()


def split(text):
    """REGEX by hand: python's re has no letter classes."""
    letter = lambda c: unicodedata.category(c)[0] == "L"
    digit = lambda c: unicodedata.category(c)[0] == "N"
    i, n, out = 0, len(text), []
    while i < n:
        j, c = i, text[i]
        contraction = next((s for s in ("'re", "'ve", "'ll", "'s", "'t", "'m", "'d")
                            if text[i:i + len(s)].lower() == s), None)
        if contraction:
            j = i + len(contraction)
        elif letter(c) or (c not in "\r\n" and not digit(c) and i + 1 < n and letter(text[i + 1])):
            j = i + 1
            while j < n and letter(text[j]):
                j += 1
        elif digit(c):
            j = i + 1
        else:
            j = i + (c == " ")
            k = j
            while k < n and not (text[k].isspace() or letter(text[k]) or digit(text[k])):
                k += 1
            if k > j:
                while k < n and text[k] in "\r\n":
                    k += 1
                j = k
            else:
                k = i
                while k < n and text[k].isspace():
                    k += 1
                newline = max((p for p in range(i, k) if text[p] in "\r\n"), default=-1)
                if newline >= 0:
                    j = newline + 1
                else:
                    j = k - 1 if k < n and k - i > 1 else k
        out.append(text[i:j])
        i = j
    return out


def learn(texts, entries):
    """Byte pairs merged in order of how often they occur, ties in alphabetical order."""
    words = collections.Counter()
    for text, weight in texts:
        for piece in split(text):
            words["".join(BYTES[b] for b in piece.encode())] += weight
    words = [(list(w), n) for w, n in sorted(words.items())]
    merges = []
    while 256 + len(merges) < entries:
        pairs = collections.Counter()
        for parts, n in words:
            for pair in zip(parts, parts[1:]):
                pairs[pair] += n
        if not pairs:
            raise SystemExit(f"too few words for {entries} entries: {256 + len(merges)}")
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        for parts, _ in words:
            i = 0
            while i < len(parts) - 1:
                if (parts[i], parts[i + 1]) == best:
                    parts[i:i + 2] = [best[0] + best[1]]
                i += 1
    return merges


class Tokenizer:
    def __init__(self, merges, vocab=None):
        base = [BYTES[b] for b in range(256)]
        self.vocab = vocab or {s: i for i, s in enumerate(base + [a + b for a, b in merges])}
        self.ranks = {tuple(m): i for i, m in enumerate(merges)}
        self.special = {s: ENTRIES + i for i, s in enumerate(SPECIALS)}
        self.names = {i: s for s, i in {**self.vocab, **self.special}.items()}
        self.cache = {}

    @classmethod
    def load(cls, folder):
        with open(os.path.join(folder, "vocab.json"), encoding="utf-8") as f:
            vocab = json.load(f)
        with open(os.path.join(folder, "merges.txt"), encoding="utf-8") as f:
            merges = [tuple(l.rstrip("\n").split(" ")) for l in f if l.strip() and not l.startswith("#version")]
        return cls(merges, vocab)

    def piece(self, text):
        if text not in self.cache:
            parts = [BYTES[b] for b in text.encode()]
            while len(parts) > 1:
                rank, i = min((self.ranks.get(p, 1 << 30), i) for i, p in enumerate(zip(parts, parts[1:])))
                if rank == 1 << 30:
                    break
                parts[i:i + 2] = [parts[i] + parts[i + 1]]
            self.cache[text] = [self.vocab[p] for p in parts]
        return self.cache[text]

    def encode(self, text):
        """Plain text only: no special tokens inside."""
        return [i for p in split(unicodedata.normalize("NFC", text)) for i in self.piece(p)]

    def decode(self, ids):
        back = {c: b for b, c in BYTES.items()}
        return bytes(back[c] for i in ids if i < ENTRIES for c in self.names[i]).decode("utf-8", "replace")


def corpus():
    import text
    lines = [(f" {w}", 3) for w in WORDS] + [(w.capitalize(), 1) for w in WORDS]
    lines += [(q, 40) for kind in range(8) for q in text.questions(kind)] + [(text.LIST_ALL, 200), (text.SYSTEM, 200)]
    answer = text.answer([(0, 1.25, 4.0), (5, 2.0, 9.5)])
    return lines + [(answer, 400), ("[]", 400), (text.answer([(k, 0, 1) for k in range(8)]), 100),
                    ("system\n", 200), ("user\n", 200), ("assistant\n", 200)]


def main(folder):
    merges = learn(corpus(), ENTRIES)
    tokenizer = Tokenizer(merges)
    os.makedirs(folder, exist_ok=True)
    path = lambda name: os.path.join(folder, name)
    with open(path("vocab.json"), "w", encoding="utf-8") as f:
        json.dump(tokenizer.vocab, f, ensure_ascii=False)
    with open(path("merges.txt"), "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    added = [{"id": i, "content": s, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for s, i in tokenizer.special.items()]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    whole = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": {"type": "NFC"},
             "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                 {"type": "Split", "pattern": {"Regex": REGEX}, "behavior": "Isolated", "invert": False}, byte_level]},
             "post_processor": byte_level, "decoder": byte_level,
             "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                       "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                       "vocab": tokenizer.vocab, "merges": [f"{a} {b}" for a, b in merges]}}
    with open(path("tokenizer.json"), "w", encoding="utf-8") as f:
        json.dump(whole, f, ensure_ascii=False, indent=0)
    with open(path("tokenizer_config.json"), "w", encoding="utf-8") as f:
        json.dump({"tokenizer_class": "Qwen2Tokenizer", "model_max_length": 4096, "pad_token": "<|endoftext|>",
                   "eos_token": "<|im_end|>", "bos_token": None, "unk_token": None, "add_prefix_space": False,
                   "clean_up_tokenization_spaces": False, "errors": "replace", "split_special_tokens": False,
                   "additional_special_tokens": SPECIALS[1:],
                   "added_tokens_decoder": {str(a.pop("id")): a for a in [dict(x) for x in added]}}, f, indent=1)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
