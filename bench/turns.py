"""Engines that take turns: each a process of its own, measured run by run in one machine's hour."""
import json
import os
import statistics
import subprocess
import threading
import time

from machine import Figures, disturbed


class Dead(Exception):
    """An engine ended or answered nonsense."""


class Runner:
    """One engine in a process of its own: commands in, one JSON object a line out."""

    def __init__(self, name, command, threads):
        self.name, self.command, self.cannot = name, command, set()
        self.peak_kib = 0  # of memory that no file backs, sampled
        env = dict(os.environ, OMP_NUM_THREADS=str(threads), LC_ALL="C")
        begin = time.monotonic()
        # pylint: disable-next=consider-using-with
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                        text=True, env=env)
        threading.Thread(target=self.sample, daemon=True).start()
        self.read()
        self.load_s = time.monotonic() - begin

    def sample(self):
        while self.process.poll() is None:
            try:
                with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as file:
                    kib = next((int(line.split()[1]) for line in file
                                if line.startswith("RssAnon:")), 0)
            except OSError:
                return
            self.peak_kib = max(self.peak_kib, kib)
            time.sleep(0.05)

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
                self.process.wait()


class Bench:
    """The runners and what was measured of them."""

    def __init__(self, options):
        self.options, self.threads = options, options.threads
        self.runners = {}
        self.figures = {}  # (runner, command): Figures of seconds
        self.extra = {}  # (runner, command): the last run's other fields
        self.repeated_s = 0  # spent on runs that were thrown away

    def start(self, name, command):
        """The runner, or None when it does not start."""
        try:
            self.runners[name] = Runner(name, command, self.threads)
        except (Dead, OSError) as error:
            print(f"{name}: not run: {error}", flush=True)
        return self.runners.get(name)

    def ours(self):
        return [name for name in self.runners if name.startswith("whend ")]

    def others(self):
        return [name for name in self.runners if not name.startswith("whend ")]

    def ask(self, name, command):
        """The answer, or None when the engine has no such command or ends."""
        try:
            answer = self.runners[name].ask(command)
            return None if answer.get("unsupported") else answer
        except Dead as error:
            print(f"# {error} at \"{command}\"", flush=True)
            del self.runners[name]
            return None

    def one(self, name, command, figures):
        """One run; the least disturbed of some is taken when none is undisturbed."""
        best, why = None, None
        for _ in range(self.options.tries):
            run = self.ask(name, command)
            if run is None:
                if name in self.runners:
                    self.runners[name].cannot.add(command)
                return
            self.extra[name, command] = run
            why = disturbed(run, self.threads)
            if best is None or run["seconds"] < best["seconds"]:
                best = run
            if not why or self.repeated_s > self.options.patience:
                break
            self.repeated_s += run["seconds"]
            figures.thrown_away += 1
        if why:
            print(f"# {name}: {command}: disturbed in every try ({why}): the fastest taken",
                  flush=True)
        figures.add(best["seconds"])

    def measure(self, jobs, rounds=None, warm=True):
        """jobs: (runner name, command), run in turns, round after round. warm: one more before."""
        rounds = rounds or self.options.rounds
        for turn in range(0 if warm else 1, rounds + 1):
            for name, command in jobs:
                if name not in self.runners or command in self.runners[name].cannot:
                    continue
                figures = self.figures.setdefault((name, command), Figures())
                if turn == 0:
                    self.ask(name, command)
                else:
                    self.one(name, command, figures)

    def seconds(self, name, command):
        figures = self.figures.get((name, command))
        return figures.median() if figures and figures.values else None

    def gain(self, name, one, other):
        """How many times as long `one` takes as `other`: the median over rounds, in each of which they
        ran one behind the other, so that what changed from round to round does not count. Or None."""
        a, b = (self.figures.get((name, command)) for command in (one, other))
        if not a or not b or not a.values or len(a.values) != len(b.values):
            return None
        return statistics.median(x / y for x, y in zip(a.values, b.values))

    def rates(self, name, command, amount):
        """Figures of amount / seconds, or None."""
        figures = self.figures.get((name, command))
        if not figures or not figures.values:
            return None
        result = Figures()
        for value in figures.values:
            result.add(amount / value)
        return result

    def stop(self):
        for runner in self.runners.values():
            runner.stop()
        self.runners = {}
