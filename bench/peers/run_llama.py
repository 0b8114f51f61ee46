"""llama.cpp on the slice: run_llama.py MODEL bf16|q8_0|q4_0 THREADS, commands as in runner.py.

Below llama-cpp-python's classes, which copy what nobody reads. With flash attention or without: at
each length what the first run, tried both ways, was faster with. The ViT is clip's, of libmtmd: two
frames a time, as it takes videos.
"""
import ctypes
import importlib.util
import sys

if sys.argv[1:] == ["--can"]:
    sys.exit(0 if importlib.util.find_spec("llama_cpp") and importlib.util.find_spec("gguf") else 69)

import llama_cpp as ll  # noqa: E402
import numpy as np  # noqa: E402
from llama_cpp import mtmd_cpp as mtmd  # noqa: E402
from runner import frames, ids, seen, serve, timed  # noqa: E402
from write_gguf import make, make_vision  # noqa: E402

MODEL, FORM, THREADS = sys.argv[1], sys.argv[2], int(sys.argv[3])
CONTEXT, BATCH, UBATCH = 4096, 2048, 512

ll.llama_backend_init()
model = ll.llama_model_load_from_file(str(make(MODEL, FORM)).encode(), ll.llama_model_default_params())
vocabulary = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model))


def open_context(flash):
    parameters = ll.llama_context_default_params()
    parameters.n_ctx, parameters.n_batch, parameters.n_ubatch = CONTEXT, BATCH, UBATCH
    parameters.n_threads = parameters.n_threads_batch = THREADS
    parameters.flash_attn_type = flash
    return ll.llama_init_from_model(model, parameters)


contexts = [open_context(flash) for flash in (ll.LLAMA_FLASH_ATTN_TYPE_ENABLED,
                                              ll.LLAMA_FLASH_ATTN_TYPE_DISABLED)]
faster = {}  # command: the context that is


def append(context, tokens):
    array = (ll.llama_token * len(tokens))(*tokens)
    if ll.llama_decode(context, ll.llama_batch_get_one(array, len(tokens))) != 0:
        raise RuntimeError("llama_decode")
    return ll.llama_get_logits_ith(context, -1)


def forget(context):
    ll.llama_memory_clear(ll.llama_get_memory(context), False)


def fastest(key, run):
    """What run(context) gives: of the faster context, which the first time is found out."""
    if key in faster:
        return run(faster[key])
    results = [(run(context), context) for context in contexts]
    best, faster[key] = min(results, key=lambda result: result[0]["seconds"])
    return best


def logits(*tokens):
    forget(contexts[0])
    return {"values": list(append(contexts[0], tokens)[:vocabulary])}


def prefill(count):
    def run(context):
        forget(context)
        return timed(append, context, ids(count))[0]

    return fastest(("prefill", count), run)


def decode(sequences, steps, before):
    if sequences != 1:
        return None

    def run(context):
        forget(context)
        append(context, ids(before))
        append(context, [1])
        return timed(lambda: [append(context, [token]) for token in ids(steps, 7)])[0]

    return fastest(("decode", before), run)


def open_vision():
    options = mtmd.mtmd_context_params_default()
    options.use_gpu, options.print_timings, options.warmup = False, False, False
    options.n_threads = THREADS
    return mtmd.mtmd_init_from_file(str(make_vision(MODEL, FORM)).encode(), model, options)


def encode(pictures):
    """The pictures' tokens [tokens, hidden], and what it took."""
    if not hasattr(encode, "vision"):
        encode.vision = open_vision()
    chunks, bitmaps = mtmd.mtmd_input_chunks_init(), []
    for picture in pictures:
        data = picture.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        bitmaps.append(mtmd.mtmd_bitmap_init(picture.shape[1], picture.shape[0], data))
        mtmd.mtmd_bitmap_set_mergeable(bitmaps[-1], True)
    words = mtmd.mtmd_default_marker() * len(bitmaps)
    prompt = mtmd.mtmd_input_text(words, len(words), False, True)
    if mtmd.mtmd_tokenize(encode.vision, chunks, ctypes.byref(prompt),
                          (ctypes.c_void_p * len(bitmaps))(*bitmaps), len(bitmaps)) != 0:
        raise RuntimeError("mtmd_tokenize")
    chunk = [mtmd.mtmd_input_chunks_get(chunks, i) for i in range(mtmd.mtmd_input_chunks_size(chunks))]
    chunk = [c for c in chunk if mtmd.mtmd_input_chunk_get_type(c) == mtmd.MTMD_INPUT_CHUNK_TYPE_IMAGE]
    hidden, tokens = ll.llama_model_n_embd(model), []

    def run():
        for c in chunk:
            if mtmd.mtmd_encode_chunk(encode.vision, c) != 0:
                raise RuntimeError("mtmd_encode_chunk")
            values = mtmd.mtmd_get_output_embd(encode.vision)
            n = mtmd.mtmd_input_chunk_get_n_tokens(c)
            tokens.append(np.ctypeslib.as_array(values, (n, hidden)).copy())

    result, _ = timed(run)
    for bitmap in bitmaps:
        mtmd.mtmd_bitmap_free(bitmap)
    mtmd.mtmd_input_chunks_free(chunks)
    return np.concatenate(tokens), result


def see(height, width):
    return seen(encode(frames(1, height, width))[0])


def vit(grids, height, width):
    tokens, result = encode(frames(grids, height, width))
    assert len(tokens) == grids * height * width // 28 ** 2
    return result


serve({"logits": logits, "prefill": prefill, "decode": decode, "see": see, "vit": vit})
