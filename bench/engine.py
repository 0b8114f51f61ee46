"""./run bench engine [--quick] [--peers VENV ...] [--only STAGE,...] [--types f32,bf16,...]

How fast the engine is, on a checkpoint with the widths of Qwen2.5-VL-3B and few layers (slice.py), as
shares of what its own products reach alone and of what the machine can do at most; and beside other
engines (bench/peers), which take turns with ours run by run. A run during which the host took time
away, or that did not get the processors, is thrown away and repeated. Figures are medians, with least
and most in parentheses; the last lines are the goals.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys

from machine import Figures, disturbed, facts, goal

try:
    import slice as checkpoint
except ImportError as error:
    sys.exit(f"bench/engine: {error}: apt-get install python3-numpy")

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = ROOT / "build" / "bench" / "engine"
EVENT = ('[{"start_time":"00:03.20","end_time":"00:05.70","description":"a red car drives past"},'
         '{"start_time":"00:11.40","end_time":"00:12.90","description":"a dog runs past"}]')
GRIDS, HEIGHT, WIDTH = 12, 252, 448  # 24 frames of 448x252
DEPTH = 16384
STAGES = ["prefill", "depth", "vit", "decode", "answers", "memory"]
PEERS = {  # name: script, format
    "transformers bf16": ("run_transformers.py", "bf16"),
    "transformers f32": ("run_transformers.py", "f32"),
    "llama.cpp bf16": ("run_llama.py", "bf16"),
    "llama.cpp q8_0": ("run_llama.py", "q8_0"),
    "llama.cpp q4_0": ("run_llama.py", "q4_0"),
    "openvino int8": ("run_openvino.py", "int8"),
    "openvino fp16": ("run_openvino.py", "fp16"),
}


class Dead(Exception):
    """An engine ended or answered nonsense."""


class Runner:
    """One engine in a process of its own: commands in, one JSON object a line out."""

    def __init__(self, name, command, threads):
        self.name = name
        env = dict(os.environ, OMP_NUM_THREADS=str(threads), LC_ALL="C")
        # pylint: disable-next=consider-using-with
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True, env=env)
        self.cannot = set()
        self.read()

    def read(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise Dead(f"{self.name} ended with exit code {self.process.wait()}")

    def ask(self, command):
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Dead(f"{self.name} is gone") from None
        return self.read()

    def stop(self):
        if self.process.poll() is None:
            try:
                self.process.communicate("quit\n", timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()


class Bench:
    def __init__(self, options):
        self.options = options
        self.threads = options.threads
        self.runners = {}
        self.figures = {}  # (runner, command): Figures of seconds
        self.extra = {}  # (runner, command): the last run's other fields

    def start(self, name, command):
        try:
            self.runners[name] = Runner(name, [str(c) for c in command], self.threads)
        except (Dead, OSError) as error:
            print(f"{name}: not run: {error}", flush=True)

    def one(self, runner, command, figures):
        """One run; the least disturbed of some is taken when none is undisturbed."""
        best = None
        for _ in range(self.options.tries):
            run = runner.ask(command)
            if run.get("unsupported"):
                runner.cannot.add(command)
                return
            self.extra[runner.name, command] = run
            why = disturbed(run, self.threads)
            if best is None or run["seconds"] < best["seconds"]:
                best = run
            if not why:
                break
            figures.thrown_away += 1
        else:
            print(f"# {runner.name}: {command}: disturbed in every try ({why}): the fastest taken",
                  flush=True)
        figures.add(best["seconds"])

    def measure(self, jobs, rounds=None):
        """jobs: (runner name, command), run in turns, round after round. The first warms up."""
        rounds = rounds or self.options.rounds
        jobs = [(name, command) for name, command in jobs if name in self.runners]
        for turn in range(rounds + 1):
            for name, command in jobs:
                runner = self.runners.get(name)
                if not runner or command in runner.cannot:
                    continue
                figures = self.figures.setdefault((name, command), Figures())
                try:
                    self.one(runner, command, Figures() if turn == 0 else figures)
                except Dead as error:
                    print(f"# {error} at \"{command}\"", flush=True)
                    del self.runners[name]

    def seconds(self, name, command):
        figures = self.figures.get((name, command))
        return figures.median() if figures and figures.values else None

    def rates(self, name, command, amount):
        """Figures of amount / seconds, or None."""
        figures = self.figures.get((name, command))
        if not figures or not figures.values:
            return None
        result = Figures()
        for value in figures.values:
            result.add(amount / value)
        return result


def ours(bench):
    return [name for name in bench.runners if name.startswith("whend ")]


def others(bench):
    return [name for name in bench.runners if not name.startswith("whend ")]


def layer_macs(vision):
    if vision:
        c, wide = checkpoint.VISION, checkpoint.VISION_INTERMEDIATE
        return checkpoint.DEPTH * (4 * c * c + 3 * c * wide)
    c, head = checkpoint.HIDDEN, checkpoint.HIDDEN // checkpoint.HEADS
    return checkpoint.LAYERS * (2 * c * c + 2 * c * checkpoint.KV_HEADS * head
                                + 3 * c * checkpoint.INTERMEDIATE)


def prefill(bench, limits, goals):
    for n in bench.options.lengths:
        command, alone = f"prefill {n}", f"gemm {n}"
        jobs = [(name, c) for name in ours(bench) for c in (command, alone)]
        bench.measure(jobs + [(name, command) for name in others(bench)])
        print(f"\nprefill of {n} tokens (slice)")
        for name in bench.runners:
            rate = bench.rates(name, command, n)
            if not rate:
                continue
            gflops = 2 * layer_macs(False) * rate.median() * 1e-9
            text = f"  {name:20} {rate.text():>24} tok/s {gflops:7.1f} GFLOPS"
            products = bench.seconds(name, alone)
            if products:
                share = products * checkpoint.LAYERS / bench.seconds(name, command)
                peak = limits["s16_gops" if "int8" in name else "f32_gflops"]
                text += (f"  {share:4.0%} of its products alone, those are "
                         f"{2 * layer_macs(False) * n / checkpoint.LAYERS / products * 1e-9 / peak:4.0%}"
                         f" of the machine's peak")
                if "bf16" in name:
                    goals.append((f"prefill{n}_bf16_of_products", share, 0.8, True))
            print(text)
        peers = [bench.rates(name, command, n) for name in others(bench)]
        best = max((p.median() for p in peers if p), default=None)
        for kind, bound in (("bf16", 1.5), ("int8", 2.2)):
            rate = bench.rates(f"whend {kind}", command, n)
            if rate and best:
                goals.append((f"prefill{n}_{kind}_of_best_peer", rate.median() / best, bound, True))


def depth(bench, limits, goals):
    n, name = 512, "whend bf16"
    commands = [f"depth 0 {n}", f"depth {DEPTH} {n}", f"gemm {n}"]
    # The cache grows only: all at depth 0 first.
    bench.measure([(name, commands[0]), (name, commands[2])])
    bench.measure([(name, commands[1])])
    shallow, deep, products = (bench.seconds(name, c) for c in commands)
    if not deep:
        return
    rate = layer_macs(False) / checkpoint.LAYERS * n / products
    arithmetic = bench.extra[name, commands[1]]["depth_macs"] / rate
    print(f"\nprefill of {n} tokens behind {DEPTH}: {deep:.2f} s, behind none {shallow:.2f} s; the "
          f"attention's own arithmetic at the products' rate ({2e-9 * rate:.0f} GFLOPS, "
          f"{2e-9 * rate / limits['f32_gflops']:.0%} of peak) is {arithmetic:.2f} s")
    goals.append(("attention_at_16k_of_its_arithmetic", (deep - shallow) / arithmetic, 1.5, False))


def vit(bench, limits, goals):
    command = f"vit {GRIDS} {HEIGHT} {WIDTH}"
    embed, alone = f"embed {GRIDS} {HEIGHT} {WIDTH}", "gemm_vit 4032"
    jobs = [(name, command) for name in bench.runners]
    bench.measure(jobs, max(1, bench.options.rounds - 1))
    bench.measure([(name, alone) for name in ours(bench)]
                  + [(name, embed) for name in others(bench)], 1)
    patches = GRIDS * HEIGHT * WIDTH // 196
    print(f"\nvision transformer, {2 * GRIDS} frames of {WIDTH}x{HEIGHT}: {patches} patches (slice)")
    for name in bench.runners:
        figures = bench.figures.get((name, command))
        if not figures or not figures.values:
            continue
        text = f"  {name:20} {figures.text(2):>20} s  {patches / 4 / figures.median():7.1f} visual tok/s"
        products = bench.seconds(name, alone)
        if products:
            share = products * checkpoint.DEPTH * patches / 4032 / figures.median()
            text += f"  {share:4.0%} of it are the blocks' products"
        if bench.seconds(name, embed):
            text += f"  patch embedding {bench.seconds(name, embed):.2f} s of it"
        print(text)
    best = min((bench.seconds(n, command) for n in ours(bench)
                if bench.seconds(n, command) and ("bf16" in n or "f32" in n)), default=None)
    own = bench.seconds("whend int8", command)
    best = min(best, own) if best and own else best or own
    for kind, bound in (("transformers", 2.5), ("llama.cpp", 3)):
        peers = [(bench.seconds(n, command), n) for n in others(bench)
                 if n.startswith(kind) and bench.seconds(n, command)]
        if best and peers:
            took, peer = min(peers)
            goals.append((f"vit_of_{kind.replace('.', '')}", took / best, bound, True))
            without = bench.seconds(peer, embed)
            if without:
                print(f"  without its patch embedding: {(took - without) / best:.2f} x of {peer}")


def decode(bench, limits, goals):
    steps, context = 16, 512
    one, four = f"decode 1 {steps} {context}", f"decode 4 {steps} {context}"
    bench.measure([(name, c) for name in bench.runners for c in
                   ((one, four) if name.startswith("whend") else (one,))])
    print(f"\ndecode behind {context} tokens (slice)")
    for name in bench.runners:
        rate, together = bench.rates(name, one, steps), bench.rates(name, four, 4 * steps)
        if not rate:
            continue
        text = f"  {name:20} {rate.text():>20} tok/s"
        memory = bench.extra.get((name, "memory 0"))
        if memory:
            # What a step reads: the layers and the head, not the embedding table and the ViT.
            share_read = layer_macs(False) + checkpoint.VOCAB * checkpoint.HIDDEN
            read = memory["llm_bytes"] if "llm_bytes" in memory else None
            if read is None:
                one_value = {"f32": 2, "bf16": 2, "int8": 1, "int4": 0.5625}[name.split()[1]]
                read = share_read * one_value
            share = read * rate.median() * 1e-9 / limits["read_gb_s"]
            text += f"  reads {read * rate.median() * 1e-9:5.1f} GB/s, {share:4.0%} of streaming"
            if "bf16" in name:
                goals.append(("decode_bf16_of_streaming", share, 0.85, True))
        if together:
            text += f"  4 on one prefix {together.text():>20} tok/s, {together.median() / rate.median():.2f} x"
            if "bf16" in name:
                goals.append(("decode4_of_decode1", together.median() / rate.median(), 3, True))
        print(text)
    for kind, peer in (("bf16", "llama.cpp bf16"), ("int8", "llama.cpp q8_0"),
                       ("int4", "llama.cpp q4_0")):
        a, b = bench.rates(f"whend {kind}", one, steps), bench.rates(peer, one, steps)
        if a and b:
            goals.append((f"decode_{kind}_of_llamacpp", a.median() / b.median(), 1.05, True))


def answers(bench, limits, goals):
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
    goals.append(("answer_tokens_forced_of_plain", rates[1].median() / rates[0].median(), 2, True))


def memory(bench, limits, goals):
    print("\nmemory (slice), MiB")
    for name in ours(bench):
        m = bench.runners[name].ask("memory 2048")
        over = m["anonymous_kib"] / 1024 - (m["weights_bytes"] + m["kv_bytes"]
                                              + m["bench_bytes"]) / (1 << 20)
        print(f"  {name:20} weights {m['weights_bytes'] >> 20}, KV of 2048 tokens "
              f"{m['kv_bytes'] / (1 << 20):.1f}, anonymous RSS {m['anonymous_kib'] >> 10}, mapped "
              f"{m['file_kib'] >> 10}, peak {m['peak_kib'] >> 10}")
        if "bf16" in name:
            goals.append(("memory_bf16_mib_over_weights_and_kv", over, 300, False))


def options_of(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="one round, 512 tokens only")
    parser.add_argument("--peers", action="append", default=[], metavar="VENV",
                        help="what bench/peers/install.sh made")
    parser.add_argument("--only", default=",".join(STAGES))
    parser.add_argument("--types", default="f32,bf16,int8,int4")
    parser.add_argument("--peer", default=",".join(PEERS), help="which of them")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.tries = 2 if options.quick else 4
    options.lengths = [512] if options.quick else [512, 2048]
    return options


def start_all(bench, options, model):
    for kind in options.types.split(","):
        # In the order of the table: a type that this build does not know is left out.
        bench.start(f"whend {kind}", [BINARY, model, kind, "auto", options.threads])
    for name in options.peer.split(","):
        script, form = PEERS[name]
        for venv in options.peers:
            python = pathlib.Path(venv) / "bin" / "python"
            module = script[4:-3]
            have = subprocess.run([python, ROOT / "bench" / "peers" / script, "--can"],
                                  capture_output=True, check=False).returncode == 0
            if have:
                bench.start(name, [python, ROOT / "bench" / "peers" / script, model, form,
                                   options.threads])
                break
        else:
            if options.peers:
                print(f"{name}: not run: no {module} in {' '.join(options.peers)}", flush=True)


def main(arguments):
    options = options_of(arguments)
    unknown = set(options.only.split(",")) - set(STAGES)
    if unknown:
        sys.exit(f"bench/engine: no such stage: {' '.join(unknown)} (there are {' '.join(STAGES)})")
    model = checkpoint.make()
    print("\n".join(facts()), flush=True)
    bench = Bench(options)
    start_all(bench, options, model)
    if not ours(bench):
        sys.exit("bench/engine: our own engine does not start: build/bench/engine says why")
    first = bench.runners[ours(bench)[0]]
    limits = first.ask("limits")
    print(f"limits   {limits['f32_gflops']:.0f} GFLOPS f32, {limits['s16_gops']:.0f} GOPS 16-bit "
          f"integers, on registers ({limits['cpu']}); reading {limits['read_gb_s']:.1f} GB/s; "
          f"{options.threads} threads; {limits['math']}")
    for name in ours(bench):
        bench.extra[name, "memory 0"] = bench.runners[name].ask("memory 0")
    goals = []
    stages = {"prefill": prefill, "depth": depth, "vit": vit, "decode": decode, "answers": answers,
              "memory": memory}
    for stage in options.only.split(","):
        stages[stage](bench, limits, goals)
        sys.stdout.flush()
    thrown = sum(f.thrown_away for f in bench.figures.values())
    print(f"\n{thrown} disturbed runs thrown away")
    for line in goals:
        goal(*line)
    for runner in bench.runners.values():
        runner.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
