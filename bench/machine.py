"""What every benchmark needs: facts of the machine, whether a run was disturbed, medians, goals."""
import os
import platform
import statistics
import subprocess

FLAGS = ["avx2", "fma", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile",
         "amx_bf16", "amx_int8"]
LEAST_CPU_SHARE, MOST_STEAL = 0.85, 0.10


def facts():
    """One line a fact: model, cores, caches, memory, instruction sets, system."""
    cpu = {}
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            key, _, value = line.partition(":")
            cpu.setdefault(key.strip(), value.strip())
    have = cpu.get("flags", "").split()
    caches = subprocess.run(["lscpu", "-B", "-C=NAME,ALL-SIZE"], capture_output=True, text=True,
                            check=False).stdout.split("\n")[1:]
    with open("/proc/meminfo", encoding="utf-8") as file:
        memory_kib = int(file.readline().split()[1])
    return [
        f"cpu      {cpu.get('model name', '?')}, family {cpu.get('cpu family', '?')} model "
        f"{cpu.get('model', '?')}, {os.cpu_count()} cores, {len(os.sched_getaffinity(0))} usable",
        "flags    " + " ".join(f for f in FLAGS if f in have)
        + "; without " + " ".join(f for f in FLAGS if f not in have),
        "caches   " + ", ".join(f"{name} {int(size) >> 10} KiB" for name, size in
                                (line.split() for line in caches if len(line.split()) == 2)),
        f"memory   {memory_kib / (1 << 20):.1f} GiB",
        f"system   {platform.platform()}",
    ]


def available_bytes():
    """Memory that can be had without swapping."""
    with open("/proc/meminfo", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("MemAvailable:")) << 10


def ticks():
    """(stolen, all) ticks of the machine so far."""
    with open("/proc/stat", encoding="utf-8") as file:
        numbers = [int(n) for n in file.readline().split()[1:9]]
    return numbers[7], sum(numbers)


def disturbed(run, threads):
    """Why a run does not count, or None. run: its seconds, cpu_s and steal."""
    share = run["cpu_s"] / (run["seconds"] * threads)
    if share < LEAST_CPU_SHARE:
        return f"only {share:.0%} of the CPU time"
    if run["steal"] > MOST_STEAL:
        return f"{run['steal']:.0%} stolen by the host"
    return None


class Figures:
    """The runs of one measurement: median, least and most of what counted."""

    def __init__(self):
        self.values, self.thrown_away = [], 0

    def add(self, value):
        self.values.append(value)

    def median(self):
        return statistics.median(self.values)

    def text(self, digits=1):
        if not self.values:
            return "-"
        return (f"{self.median():.{digits}f} ({min(self.values):.{digits}f}-"
                f"{max(self.values):.{digits}f})")


def goal(name, value, bound, at_least=True):
    """The one line that says whether a goal is met."""
    met = value >= bound if at_least else value <= bound
    print(f"goal {name} {value:.3g} {'>=' if at_least else '<='}{bound:g} "
          f"{'met' if met else 'short'}", flush=True)
    return met
