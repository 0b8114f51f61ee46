"""./run bench engine [--quick] [--peers VENV ...] [--only STAGE,...] [--types f32,bf16,...] [--full]

How fast the engine is, on a checkpoint with the widths of Qwen2.5-VL-3B and few layers (slice.py), as
shares of what its own products reach alone and of what the machine can do at most; and beside other
engines (bench/peers), which take turns with ours run by run, once they have shown that they compute
the same. A run during which the host took time away, or that did not get the processors, is thrown
away and repeated. Figures are medians, with least and most in parentheses; the last lines are the
goals. --full: then our engine alone on all layers of 3B (7.5 GB on disk, 10 GB of memory).
"""
import argparse
import pathlib
import shutil
import subprocess
import sys

from machine import available_bytes, facts, goal
from turns import Bench, Runner

try:
    import slice as checkpoint
    import numpy as np
except ImportError as error:
    sys.exit(f"bench/engine: {error}: apt-get install python3-numpy")

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = ROOT / "build" / "bench" / "engine"
EVENT = ('[{"start_time":"00:03.20","end_time":"00:05.70","description":"a red car drives past"},'
         '{"start_time":"00:11.40","end_time":"00:12.90","description":"a dog runs past"}]')
GRIDS, HEIGHT, WIDTH = 12, 252, 448  # 24 frames of 448x252
DEPTH = 16384
STAGES = ["prefill", "depth", "decode", "vit", "answers", "memory"]
PEERS = {  # name: script, format
    "transformers bf16": ("run_transformers.py", "bf16"),
    "transformers f32": ("run_transformers.py", "f32"),
    "llama.cpp bf16": ("run_llama.py", "bf16"),
    "llama.cpp q8_0": ("run_llama.py", "q8_0"),
    "llama.cpp q4_0": ("run_llama.py", "q4_0"),
    "openvino fp16": ("run_openvino.py", "fp16"),
    "openvino int8": ("run_openvino.py", "int8"),
    "openvino int4": ("run_openvino.py", "int4"),
}
BYTES = {"f32": 2, "bf16": 2, "int8": 1, "int4": 0.5625}  # of a weight when decoding: f32 reads bf16
# Most that logits may differ from those in f32, of their norm: about four times what was seen.
WRONG = {"f32": 0.001, "bf16": 0.03, "fp16": 0.03, "int8": 0.1, "q8_0": 0.1, "int4": 0.5, "q4_0": 0.5}
PEAKS = {"bf16": ["bf16_gflops", "f32_gflops"], "int8": ["s8_gops", "s16_gops"],
         "int4": ["s8_gops", "s16_gops"]}


def form(name):
    return name.split()[-1]


def family(name):
    return name.split()[0]


def peak(limits, name):
    """What the machine can do at most with the instructions that this type is for."""
    keys = PEAKS.get(form(name), []) + ["f32_gflops"]
    return limits[next(key for key in keys if limits.get(key))]


def layer_macs(vision):
    """Multiply-adds of one layer and token in its products."""
    if vision:
        c, wide = checkpoint.VISION, checkpoint.VISION_INTERMEDIATE
        return 4 * c * c + 3 * c * wide
    c, head = checkpoint.HIDDEN, checkpoint.HIDDEN // checkpoint.HEADS
    return (2 * c * c + 2 * c * checkpoint.KV_HEADS * head + 3 * c * checkpoint.INTERMEDIATE)


def step_values(shape):
    """Weights that a step reads: the layers and the head, not the embedding table and the ViT."""
    return shape.layers * layer_macs(False) + shape.vocab * checkpoint.HIDDEN


def check(bench):
    """Stops the engines that do not compute what the others do."""
    if not bench.others():
        return
    print("\nthe same? logits behind 8 tokens, tokens of a picture; difference from the first that has "
          "them, of its norm")
    # What the rest is compared with: in f32 before all others.
    order = sorted(bench.runners, key=lambda n: (form(n) != "f32", form(n) != "bf16",
                                                 family(n) != "transformers"))
    commands, truths = ["logits 5 17 300 999 4 77 512 640", f"see {HEIGHT} {WIDTH}"], {}
    for name in order:
        text, wrong = f"  {name:20}", False
        for command in commands:
            answer = bench.ask(name, command) if name in bench.runners else None
            if not answer:
                text += f"  {'-':>7}"
                continue
            a = np.array(answer["values"])
            b = truths.setdefault(command, a)
            error = np.linalg.norm(a - b) / np.linalg.norm(b) if a.shape == b.shape else np.inf
            wrong |= not error <= WRONG[form(name)]
            text += f"  {error:7.4f}"
        print(text + ("  wrong: not counted" if wrong else ""), flush=True)
        if wrong:
            bench.runners.pop(name).stop()


def prefill(bench, limits, goals):
    macs, fastest = checkpoint.SLICE.layers * layer_macs(False), {}
    for n in bench.options.lengths:
        command, alone = f"prefill {n}", f"gemm {n}"
        names = list(bench.runners)
        if fastest:  # longer ones take their time: only of those that may matter
            most = max(fastest.values())
            names = [name for name in names if form(name) != "f32"
                     and fastest.get(name, most) >= 0.7 * most]
        bench.measure([(name, c) for name in names for c in
                       ((command, alone) if name in bench.ours() else (command,))],
                      warm=not fastest)
        print(f"\nprefill of {n} tokens (slice)")
        for name in bench.runners:
            rate = bench.rates(name, command, n)
            if not rate:
                continue
            text = f"  {name:20} {rate.text():>24} tok/s {2e-9 * macs * rate.median():7.1f} GFLOPS"
            products = bench.seconds(name, alone)
            if products:
                share = products * checkpoint.SLICE.layers / bench.seconds(name, command)
                reached = 2e-9 * layer_macs(False) * n / products
                text += (f"  {share:4.0%} of its products alone, those are "
                         f"{reached / peak(limits, name):4.0%} of the machine's peak")
                if form(name) == "bf16":
                    goals.append((f"prefill{n}_bf16_of_products", share, 0.8, True))
            print(text)
        rates = {name: bench.rates(name, command, n) for name in bench.others()}
        rates = {name: rate.median() for name, rate in rates.items() if rate}
        if not rates:
            continue
        fastest = fastest or rates
        best = max(rates, key=rates.get)
        print(f"  the best of the others: {best}")
        for kind, bound in (("bf16", 1.5), ("int8", 2.2)):
            rate = bench.rates(f"whend {kind}", command, n)
            if rate:
                goals.append((f"prefill{n}_{kind}_of_best_peer", rate.median() / rates[best], bound,
                              True))


def depth(bench, limits, goals):
    n, name = 512, "whend bf16"
    commands = [f"depth 0 {n}", f"depth {DEPTH} {n}", f"gemm {n}"]
    if name not in bench.runners:
        return
    # The cache grows only: all at depth 0 first.
    bench.measure([(name, commands[0]), (name, commands[2])])
    bench.measure([(name, commands[1])])
    shallow, deep, products = (bench.seconds(name, c) for c in commands)
    if not deep:
        return
    rate = layer_macs(False) * n / products
    arithmetic = bench.extra[name, commands[1]]["depth_macs"] / rate
    print(f"\nprefill of {n} tokens behind {DEPTH}: {deep:.2f} s, behind none {shallow:.2f} s; the "
          f"attention's own arithmetic at the products' rate ({2e-9 * rate:.0f} GFLOPS, "
          f"{2e-9 * rate / peak(limits, name):.0%} of peak) is {arithmetic:.2f} s")
    goals.append(("attention_at_16k_of_its_arithmetic", (deep - shallow) / arithmetic, 1.5, False))


def vit(bench, _, goals):
    command, embed = (f"{word} {GRIDS} {HEIGHT} {WIDTH}" for word in ("vit", "embed"))
    small, alone = f"vit 1 {HEIGHT} {WIDTH}", "gemm_vit 4032"
    bench.measure([(name, small) for name in bench.runners], 1)
    # Of each of the others, the format that is fastest at one grid.
    names = bench.ours()
    for kind in dict.fromkeys(family(name) for name in bench.others()):
        formats = [n for n in bench.others() if family(n) == kind and bench.seconds(n, small)]
        names += sorted(formats, key=lambda n: bench.seconds(n, small))[:1]
    bench.measure([(name, command) for name in names], max(1, bench.options.rounds - 1), False)
    bench.measure([(name, alone) for name in bench.ours()]
                  + [(name, embed) for name in names if name in bench.others()], 1)
    count = GRIDS * HEIGHT * WIDTH // 196
    print(f"\nvision transformer, {2 * GRIDS} frames of {WIDTH}x{HEIGHT}: {count} patches (slice)")
    for name in bench.runners:
        figures = bench.figures.get((name, command))
        if not figures or not figures.values:
            if bench.seconds(name, small):
                print(f"  {name:20} {'':>20}    {count / 4 / GRIDS / bench.seconds(name, small):7.1f} "
                      "visual tok/s at one grid")
            continue
        text = f"  {name:20} {figures.text(2):>20} s  {count / 4 / figures.median():7.1f} visual tok/s"
        products = bench.seconds(name, alone)
        if products:
            share = products * checkpoint.SLICE.depth * count / 4032 / figures.median()
            text += f"  {share:4.0%} of it are the blocks' products"
        if bench.seconds(name, embed):
            text += f"  patch embedding {bench.seconds(name, embed):.2f} s of it"
        print(text)
    best = min((n for n in bench.ours() if bench.seconds(n, command)),
               key=lambda n: bench.seconds(n, command), default=None)
    for kind, bound in (("transformers", 2.5), ("llama.cpp", 3)):
        peer = next((n for n in names if family(n) == kind and bench.seconds(n, command)), None)
        if best and peer:
            took, own = bench.seconds(peer, command), bench.seconds(best, command)
            goals.append((f"vit_of_{kind.replace('.', '')}", took / own, bound, True))
            if bench.seconds(peer, embed):
                print(f"  {best} is {(took - bench.seconds(peer, embed)) / own:.2f} x as fast as {peer} "
                      "without the latter's patch embedding")


def decode(bench, _, goals):
    steps, context = 16, 512
    one, four = f"decode 1 {steps} {context}", f"decode 4 {steps} {context}"
    # What memory gives changes from minute to minute: a streaming read beside each of our decodes.
    bench.measure([(name, c) for name in bench.runners for c in
                   (("read", one, four) if name in bench.ours() else (one,))])
    print(f"\ndecode behind {context} tokens (slice)")
    for name in bench.runners:
        rate, together = bench.rates(name, one, steps), bench.rates(name, four, 4 * steps)
        if not rate:
            continue
        text = f"  {name:20} {rate.text():>20} tok/s"
        if name in bench.ours():
            read = 1e-9 * step_values(checkpoint.SLICE) * BYTES[form(name)] * rate.median()
            amount = 1e-9 * bench.extra[name, "read"]["bytes"]
            share = bench.gain(name, "read", one) * read / rate.median() * steps / amount
            text += (f"  reads {read:5.1f} GB/s, {share:4.0%} of streaming "
                     f"({bench.rates(name, 'read', amount).text()})")
            if form(name) == "bf16":
                goals.append(("decode_bf16_of_streaming", share, 0.85, True))
        if together:
            four_of_one = 4 * bench.gain(name, one, four)
            text += f"  4 on one prefix {together.text():>20} tok/s, {four_of_one:.2f} x"
            if form(name) == "bf16":
                goals.append(("decode4_of_decode1", four_of_one, 3, True))
        print(text)
    # q8_0 has a scale for 32 weights, so it reads 17/16 of our bytes; q4_0 reads the same.
    for kind, peer, more in (("bf16", "llama.cpp bf16", 1), ("int8", "llama.cpp q8_0", 17 / 16),
                             ("int4", "llama.cpp q4_0", 1)):
        a, b = bench.rates(f"whend {kind}", one, steps), bench.rates(peer, one, steps)
        if a and b:
            goals.append((f"decode_{kind}_of_llamacpp", a.median() / (b.median() * more), 1.05, True))


def answers(bench, _, goals):
    name = "whend bf16"
    commands = ["plain " + EVENT, "grammar " + EVENT]
    bench.measure([(name, c) for c in commands])
    if not bench.seconds(name, commands[1]):
        return
    run = bench.extra[name, commands[1]]
    tokens = run["tokens"]
    rates = [bench.rates(name, c, tokens) for c in commands]
    print(f"\nan answer of {tokens} tokens, {tokens - run['steps']} of them forced by the grammar: "
          f"plain {rates[0].text()} tok/s, forced tokens together {rates[1].text()} tok/s; "
          f"{tokens / run['steps']:.2f} x if they cost nothing")
    goals.append(("answer_tokens_forced_of_plain", bench.gain(name, *commands), 2, True))


def memory(bench, _, goals):
    """Each in a process of its own: the language model's buffers, and those of 24 pictures."""
    print("\nmemory (slice), MiB")
    for name in bench.ours():
        over = []
        for what, command in (("a prefill of 512", "prefill 512"),
                              ("24 pictures", f"vit {GRIDS} {HEIGHT} {WIDTH}")):
            runner = Runner(name, bench.runners[name].command, bench.threads)
            runner.ask(command)
            m = runner.ask("memory 512")
            runner.stop()
            over.append(m["anonymous_kib"] / 1024 - (m["weights_bytes"] + m["kv_bytes"]
                                                       + m["bench_bytes"]) / (1 << 20))
            print(f"  {name:20} weights {m['weights_bytes'] >> 20}, after {what} anonymous RSS "
                  f"{m['anonymous_kib'] >> 10}, mapped {m['file_kib'] >> 10}, {over[-1]:.0f} beyond "
                  "weights and KV")
        if form(name) == "bf16":
            goals.append(("memory_bf16_mib_over_weights_and_kv", max(over), 300, False))


def full(options, goals):
    """Our engine alone on the shape of 3B: loading, a pass of each stage, memory."""
    model = checkpoint.make(checkpoint.FULL)
    cache = model.with_name("packed")
    prefill_, decode_ = "prefill 512", "decode 1 16 512"
    vit_, memory_ = f"vit {GRIDS} {HEIGHT} {WIDTH}", "memory 560"
    print("\nthe full shape of 3B, random weights")
    for kind in options.types.split(","):
        need = (model / "model.safetensors").stat().st_size * BYTES[kind] / 2 + (2 << 30)
        if need > available_bytes():
            print(f"  {kind}: not run: needs {need / (1 << 30):.1f} GiB, "
                  f"{available_bytes() / (1 << 30):.1f} available")
            continue
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir()
        over = []
        for start in ("first", "second"):
            bench, name = Bench(options), f"whend {kind}"
            runner = bench.start(name, [BINARY, model, kind, "auto", options.threads, cache])
            if not runner:
                break
            bench.measure([(name, c) for c in (prefill_, decode_)], 1)
            m, text_kib = bench.ask(name, memory_), runner.peak_kib
            if start == "second":
                bench.measure([(name, vit_)], 1, False)
            took = [bench.seconds(name, c) for c in (prefill_, decode_, vit_)]
            bench.stop()
            if not m:
                break
            # The first start packs into memory, the second maps the file of the first.
            held = m["weights_bytes"] if start == "first" else 0
            kept = (held + m["kv_bytes"] + m["bench_bytes"]) / (1 << 20)
            over.append(text_kib / 1024 - kept)
            print(f"  {name}, {start} start: ready in {runner.load_s:.1f} s; weights "
                  f"{m['weights_bytes'] >> 20} MiB" + ("" if held else ", mapped")
                  + f"; KV {m['kv_bytes'] >> 20}; most anonymous memory beyond those {over[-1]:.0f}",
                  flush=True)
            if all(took):
                read = 1e-9 * step_values(checkpoint.FULL) * BYTES[kind] * 16 / took[1]
                print(f"  {name}: prefill of 512 {512 / took[0]:.1f} tok/s, decode {16 / took[1]:.2f} tok/s "
                      f"(reads {read:.1f} GB/s), ViT "
                      f"{GRIDS * HEIGHT * WIDTH // 784 / took[2]:.1f} visual tok/s ({took[2]:.1f} s, with "
                      f"{runner.peak_kib / 1024 - kept:.0f} MiB, the pictures counted)", flush=True)
        shutil.rmtree(cache)
        if kind == "bf16" and len(over) == 2:
            goals.append(("memory_3b_bf16_mib_over_weights_and_kv", max(over), 300, False))


def options_of(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="one round, 512 tokens only")
    parser.add_argument("--peers", action="append", default=[], metavar="VENV",
                        help="what bench/peers/install.sh made")
    parser.add_argument("--only", default=",".join(STAGES), help=f"of {' '.join(STAGES)}")
    parser.add_argument("--types", default="f32,bf16,int8,int4")
    parser.add_argument("--peer", default=",".join(PEERS), help="which of them")
    parser.add_argument("--full", action="store_true", help="3B's full shape too; --only=: alone")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--patience", type=float, default=120,
                        help="seconds at most for repeating disturbed runs")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.tries = 2 if options.quick else 4
    options.lengths = [512] if options.quick else [512, 2048]
    options.stages = [stage for stage in options.only.split(",") if stage]
    unknown = set(options.stages) - set(STAGES)
    if unknown:
        sys.exit(f"bench/engine: no such stage: {' '.join(unknown)} (there are {' '.join(STAGES)})")
    return options


def start_all(bench, model):
    options = bench.options
    for kind in options.types.split(","):
        # In the order of the table: a type that this build does not know is left out.
        bench.start(f"whend {kind}", [BINARY, model, kind, "auto", options.threads])
    for name in options.peer.split(",") if options.peers else []:
        script = ROOT / "bench" / "peers" / PEERS[name][0]
        pythons = [pathlib.Path(venv) / "bin" / "python" for venv in options.peers]
        python = next((p for p in pythons if subprocess.run([p, script, "--can"], check=False,
                                                            capture_output=True).returncode == 0),
                      None)
        if python:
            bench.start(name, [python, script, model, PEERS[name][1], options.threads])
        else:
            print(f"{name}: not run: it is not in {' '.join(options.peers)}", flush=True)


def main(arguments):
    options = options_of(arguments)
    model = checkpoint.make()
    print("\n".join(facts()), flush=True)
    bench = Bench(options)
    bench.start("whend bf16", [BINARY, model, "bf16", "auto", options.threads])
    if not bench.runners:
        sys.exit("bench/engine: our own engine does not start: build/bench/engine says why")
    limits = bench.ask("whend bf16", "limits")
    bench.stop()
    peaks = ", ".join(f"{limits[key]:.0f} {text}" for key, text in
                      (("f32_gflops", "GFLOPS f32"), ("bf16_gflops", "GFLOPS bf16"),
                       ("s16_gops", "GOPS 16-bit integers"), ("s8_gops", "GOPS 8-bit integers"))
                      if limits.get(key))
    print(f"limits   {peaks}, on registers ({limits['cpu']}); {options.threads} threads; {limits['math']}", flush=True)
    goals = []
    stages = {"prefill": prefill, "depth": depth, "vit": vit, "decode": decode, "answers": answers,
              "memory": memory}
    if options.stages:
        start_all(bench, model)
        check(bench)
    for stage in options.stages:
        stages[stage](bench, limits, goals)
        sys.stdout.flush()
    bench.stop()
    if options.full:
        full(options, goals)
    thrown = sum(f.thrown_away for f in bench.figures.values())
    print(f"\n{thrown} disturbed runs thrown away")
    for line in goals:
        goal(*line)


if __name__ == "__main__":
    main(sys.argv[1:])
