"""SIGKILL at random moments while events flow: the six invariants of docs/design.md, section 5, seen from outside after each.

    ./run prove kills [--short] [--kills N] [--seed N]

The real whend with workers that do as told (tests/integration/daemon/world.py), so that events flow as fast as they can be
committed and the truth is known. Of ten kills eight hit whend (one of them while it starts), two a worker. After each of
whend's deaths the files that it left are checked by SQL, then it is started again and a subscriber that was there all the
time asks for what it missed. ./run prove kills-real does fewer of them to the real cameras and the real model.
"""
import argparse
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("WHEN_BUILD", os.path.join(HERE, "..", "..", "build"))
if "--build" not in sys.argv:
    sys.argv += ["--build", BUILD]
sys.path.insert(0, os.path.join(HERE, "..", "integration", "daemon"))
from world import EXAMINED, FINAL, RETRACTED, S, UTC, World, before_exec  # noqa: E402

CAR = "When does a car drive past?"
CAMERAS = ("gate", "yard", "dock")
CHUNK_S = 12
PERIOD_S = 15  # a car of 2 to 6 s in each


def car(k):
    start = UTC + (PERIOD_S * k + 3) * S
    return start, start + (2 + k % 5) * S


class Flow(World):
    """Three live cameras whose stream time runs on whatever dies; the analyst answers by the truth."""

    def __init__(self):
        super().__init__()
        for name in CAMERAS:
            self.cameras[name] = {"url": f"rtsp://127.0.0.1:9/{name}", "record": "false"}
        self.time_s = dict.fromkeys(CAMERAS, 0)
        self.sessions = 0
        self.session = {}  # worker id: its session
        self.loaded = set()
        self.log_of = {}  # sequence: EventMessage, each as it was first heard
        self.faults = []

    def answer(self, job):
        first, last = job["utc"][0], job["utc"][-1]
        k = max((first - UTC) // S // PERIOD_S - 1, 0)
        found = []
        while car(k)[0] < last:
            start, end = car(k)
            if end > first:
                found.append([(max(start, first) - first) / S, (min(end, last) - first) / S, "a car drives past"])
            k += 1
        analyst = self.worker("analyst/0")
        if analyst.id == job["id"]:  # the one that died is told no answer
            analyst.order("answer", job=job["job"], answers={question: found for question in job["questions"]})

    def drive(self):
        """Each camera that is ready and has sent what it was given gets the next stretch; a new analyst its model."""
        analyst = self.worker("analyst/0")
        if analyst and analyst.count("setup") and analyst.id not in self.loaded:
            self.loaded.add(analyst.id)
            analyst.order("loaded")
        for name in CAMERAS:
            worker = self.worker(f"camera/{name}")
            if not worker or not worker.count("setup"):
                continue
            if worker.id not in self.session:
                self.sessions += 1
                self.session[worker.id] = self.sessions
                worker.given = 0
            if worker.count("sent") == worker.given:
                worker.given += 1
                start = self.time_s[name]
                self.time_s[name] += CHUNK_S
                worker.frames(start, start + CHUNK_S, session=self.session[worker.id], wait=False)

    def reset(self):
        super().reset()
        self.session, self.loaded = {}, set()

    # --- what must hold ---

    def fault(self, invariant, text):
        self.faults.append((invariant, text))
        print(f"invariant {invariant}: {text}", flush=True)

    def hear(self):
        """What was published since: live messages are what replays say, in rising order."""
        last = 0
        for message in self.messages:
            if message.sequence <= last:
                self.fault(2, f"sequence {message.sequence} published after {last}")
            last = message.sequence
            known = self.log_of.setdefault(message.sequence, message)
            if known != message:
                self.fault(1, f"sequence {message.sequence} was published as something else than was committed")
        self.messages = []

    def check_files(self):
        """The index as the dead whend left it."""
        folder = os.path.join(self.dir, "left")
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder)
        for name in ("index.sqlite", "index.sqlite-wal"):
            if os.path.exists(f"{self.dir}/state/{name}"):
                shutil.copy(f"{self.dir}/state/{name}", folder)
        db = sqlite3.connect(os.path.join(folder, "index.sqlite"))

        def one(sql):
            return db.execute(sql).fetchone()

        if not one("SELECT count(*) FROM sqlite_schema WHERE name = 'revisions'")[0]:
            if self.log_of:
                self.fault(1, "published events, and no table")
            db.close()
            return
        if one("PRAGMA quick_check")[0] != "ok" or one("PRAGMA foreign_key_check"):
            self.fault(1, "the index is damaged")
        n, first, last = one("SELECT count(*), coalesce(min(sequence), 1), coalesce(max(sequence), 0) FROM revisions")
        row = one("SELECT last_sequence FROM daemon")
        if (first, n) != (1, last) or (row and row[0] != last):
            self.fault(2, f"{n} revisions from {first} to {last}, daemon says {row}")
        if max(self.log_of, default=0) > last:
            self.fault(1, f"sequence {max(self.log_of)} was published, {last} is the last one committed")
        bad = one("SELECT id FROM (SELECT id, revision, state, lag(revision, 1, 0) OVER w AS before, lag(state, 1, 1) OVER w AS"
                  " was FROM revisions WINDOW w AS (PARTITION BY id ORDER BY sequence)) WHERE revision <> before + 1"
                  f" OR was = {RETRACTED} OR (was = {FINAL} AND state <> {RETRACTED})")
        if bad:
            self.fault(4, f"revisions of {bad[0]} go wrong")
        if one("SELECT 1 FROM events e JOIN (SELECT id, max(sequence) AS s FROM revisions GROUP BY id) r USING (id)"
               " WHERE e.sequence <> s") or one("SELECT count(DISTINCT id) FROM revisions") != one("SELECT count(*) FROM events"):
            self.fault(4, "an event is not its newest revision")
        if one("SELECT 1 FROM (SELECT end_us, lead(start_us) OVER (PARTITION BY camera, watch ORDER BY start_us) AS next"
               " FROM ledger) WHERE next < end_us"):
            self.fault(5, "spans of the ledger overlap")
        self.check_examined(db)
        db.close()

    def check_examined(self, db):
        """Where the ledger says examined, each true event is there (invariants 5 and 6)."""
        found = {name: db.execute("SELECT start_us, end_us FROM events WHERE camera = ? AND state <> 3 ORDER BY start_us",
                                  (name,)).fetchall() for name in CAMERAS}
        for camera, start, end in db.execute(f"SELECT camera, start_us, end_us FROM ledger WHERE state = {EXAMINED}"):
            k = max((start - UTC) // S // PERIOD_S - 1, 0)
            while car(k)[1] < end - S:
                first, last = car(k)
                if first > start + S and not any(s < last and e > first for s, e in found[camera]):
                    self.fault(5, f"{camera} is examined from {(start - UTC) / S} to {(end - UTC) / S} s, but the car of "
                                  f"{(first - UTC) / S} s is missing")
                k += 1

    def catch_up(self):
        """A subscriber asks for what it missed and has all, in order (invariants 2 and 3)."""
        known = 0
        while known + 1 in self.log_of:
            known += 1
        messages, last = self.replay(known)
        if [m.sequence for m in messages] != list(range(known + 1, last + 1)):
            self.fault(3, f"a replay after {known} to {last} has {len(messages)} messages")
        for message in messages:
            if self.log_of.setdefault(message.sequence, message) != message:
                self.fault(1, f"sequence {message.sequence} was published as something else than was committed")
        self.wait(lambda: self.heartbeat and self.heartbeat.last_sequence >= last, "heartbeat")

    # --- deaths ---

    def run_on(self, messages):
        """Until so many were published: a random moment, somewhere in the work."""
        end = time.monotonic() + 60
        while len(self.messages) < messages:
            self.drive()
            self.pump(20)
            if self.process.poll() is not None:
                raise AssertionError(f"whend ended by itself with {self.process.returncode}")
            if time.monotonic() > end:
                raise AssertionError("no events for 60 s")

    def kill_at_start(self, rng):
        """whend is started and dies a few milliseconds later."""
        process = subprocess.Popen(self.command(), env=self.environment(), stderr=self.log, stdin=subprocess.DEVNULL,
                                   preexec_fn=before_exec)
        end = time.monotonic() + rng.random() * 0.15
        while time.monotonic() < end and process.poll() is None:
            pass
        process.kill()
        process.wait()


def kill_worker(flow, rng):
    workers = [w for w in (flow.worker(name) for name in ["analyst/0"] + [f"camera/{c}" for c in CAMERAS]) if w]
    worker = rng.choice(workers)
    try:
        worker.kill()
    except ProcessLookupError:
        pass


def main():
    parser = argparse.ArgumentParser(prog="./run prove kills")
    parser.add_argument("--short", action="store_true", help="50 kills")
    parser.add_argument("--kills", type=int)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    kills = options.kills or (50 if options.short else 500)
    rng = random.Random(options.seed)
    print(f"{kills} kills, seed {options.seed}", flush=True)
    flow, done, begin = Flow(), {"whend": 0, "whend at its start": 0, "worker": 0}, time.monotonic()
    try:
        flow.start(load=False)
        for number in range(kills):
            flow.run_on(rng.randrange(1, 13))
            spin = time.monotonic() + rng.random() * 0.02
            while time.monotonic() < spin:
                flow.pump(0)
            if number % 10 in (3, 7):
                kill_worker(flow, rng)
                done["worker"] += 1
                continue
            flow.kill()
            while flow.subscriber.poll(0):  # what was on its way when it died
                flow.take_published(*flow.subscriber.recv_multipart())
            flow.hear()
            flow.check_files()
            done["whend"] += 1
            if number % 10 == 5:
                flow.kill_at_start(rng)
                flow.check_files()
                done["whend at its start"] += 1
            flow.start(load=False)
            flow.hear()
            flow.catch_up()
            if (number + 1) % 50 == 0:
                print(f"{number + 1} kills, {max(flow.log_of, default=0)} revisions, {time.monotonic() - begin:.0f} s", flush=True)
        flow.run_on(1)
        flow.stop()
        flow.hear()
        flow.check_files()
        events = {m.event.id for m in flow.log_of.values()}
        print(f"killed: {done}; {max(flow.log_of)} revisions of {len(events)} events, "
              f"{sum(flow.time_s.values()) / 3600:.1f} camera hours")
        broken = False
    except BaseException:
        broken = True
        raise
    finally:
        flow.close(keep=broken or bool(flow.faults))
    met = not flow.faults
    print(f"goal kills_violations {len(flow.faults)} 0 {'met' if met else 'short'}", flush=True)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
