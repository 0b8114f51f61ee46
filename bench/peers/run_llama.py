"""llama.cpp on the slice: run_llama.py MODEL bf16|q8_0|q4_0 THREADS, commands as in runner.py."""
import importlib.util
import sys

if sys.argv[1:] == ["--can"]:
    sys.exit(0 if importlib.util.find_spec("llama_cpp") and importlib.util.find_spec("gguf") else 69)

import llama_cpp  # noqa: E402
from runner import ids, serve, timed  # noqa: E402
from write_gguf import make  # noqa: E402

MODEL, FORM, THREADS = sys.argv[1], sys.argv[2], int(sys.argv[3])
model = llama_cpp.Llama(str(make(MODEL, FORM)), n_ctx=4096, n_batch=2048, n_ubatch=512,
                        n_threads=THREADS, n_threads_batch=THREADS, flash_attn=True, verbose=False)


def prefill(count):
    model.reset()
    return timed(model.eval, ids(count))[0]


def decode(sequences, steps, context):
    if sequences != 1:
        return None
    model.reset()
    model.eval(ids(context))
    model.eval([1])

    def run():
        for token in ids(steps, 7):
            model.eval([token])

    return timed(run)[0]


serve({"prefill": prefill, "decode": decode})
