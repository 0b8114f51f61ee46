"""The demo behind `./run demo`: two rendered cameras, whend, and its answers beside the truth.

  gate   a real RTSP server on loopback plays demo/cameras/gate.mp4 as it would be live, once
  yard   demo/cameras/yard.mp4 as a file that was recorded earlier, worked through as fast as it goes

Exit code 0 when the mean temporal IoU over all true events is at least 0.75, none is missed and nothing is claimed that did
not happen; else 1. Everything lives in a temporary folder and is stopped at the end; --keep leaves it running.
"""
import argparse
import ctypes
import datetime
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from demo_score import Tally
from demo_screen import Screen

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GATE_SECONDS = 60.0
YARD_START = datetime.datetime(2026, 1, 5, 6, 30, tzinfo=datetime.timezone.utc)
GIVE_UP_S = 240
GOAL_IOU, GOAL_WALL_S = 0.75, 90
# watch: (the question, what the truth files call it)
WATCHES = {
    "red-car": ("When does a red car drive past?", "a red car drives past"),
    "blue-car": ("When does a blue car drive past?", "a blue car drives past"),
    "white-car": ("When does a white car drive past?", "a white car drives past"),
    "yellow-car": ("When does a yellow car drive past?", "a yellow car drives past"),
    "person": ("When does a person walk by?", "a person walks by"),
    "dog": ("When does a dog run past?", "a dog runs past"),
    "lamp": ("When is the lamp on?", "the lamp is on"),
    "door": ("When is the door open?", "the door is open"),
}
ASKED = "when did a red car drive past?"
ASKED_IN_VAIN = "when did a yellow car drive past?"


class DemoError(Exception):
    """One line for the user."""


def program(name):
    return os.path.join("build", name)


def clock(us):
    text = datetime.datetime.fromtimestamp((us + 5000) // 10000 / 100, datetime.timezone.utc)
    return text.strftime("%H:%M:%S.%f")[:-4]


class Children:
    """What the demo started; all of it ends with the demo, also when the demo is killed."""

    def __init__(self, keep):
        self.keep = keep
        self.list = []

    def start(self, args, **kwargs):
        def prepare():
            if not self.keep:
                ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        try:
            child = subprocess.Popen(args, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=prepare, **kwargs)
        except OSError as error:
            raise DemoError(f"cannot start {args[0]}: {error.strerror} (./run build)") from None
        self.list.append(child)
        return child

    def stop(self):
        """The last started first. What will not end within 10 s is killed, and so are workers that outlived a killed whend."""
        for child in reversed(self.list):
            if child.poll() is None:
                child.terminate()
                try:
                    child.wait(10)
                except subprocess.TimeoutExpired:
                    pass
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # as it should be: nobody is left in its group
            child.wait()


class Lines:
    """Reads a child's lines in a thread, so that the screen can be kept fresh while nothing comes."""

    def __init__(self, stream):
        self.queue = queue.Queue()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream):
        for line in stream:
            self.queue.put(line)
        self.queue.put(None)

    def next(self, timeout_s):
        """A line, None at the end of the stream, "" when nothing came in time."""
        try:
            return self.queue.get(timeout=timeout_s)
        except queue.Empty:
            return ""


class Demo:
    def __init__(self, keep):
        self.keep = keep
        self.screen = Screen()
        self.children = Children(keep)
        self.truth = {}
        for camera in ("gate", "yard"):
            with open(f"demo/cameras/{camera}.truth.json") as file:
                self.truth[camera] = json.load(file)
        self.dir = tempfile.mkdtemp(prefix="whend-demo-")
        self.config = os.path.join(self.dir, "whend.yaml")
        self.log = os.path.join(self.dir, "log")
        self.runtime = os.path.join(self.dir, "run")
        self.begin = time.monotonic()
        self.gate_start_us = None  # UTC of the first picture that the RTSP server sent
        self.gate_over = False  # the RTSP server has sent its last picture
        self.progress = {}  # camera: the newest progress line
        self.next_check = 0.0

    # --- starting ---

    def start(self):
        self.server = self.children.start([program("rtsp-server"), "--once", "--port", "0", "demo/cameras/gate.mp4"],
                                          stdout=subprocess.PIPE, stderr=open(os.path.join(self.dir, "rtsp.log"), "w"), text=True)
        self.server_lines = Lines(self.server.stdout)
        url = self.server_line("url", 20)
        self.write_config(url)
        with open(self.log, "w") as log:
            self.daemon = self.children.start([program("whend"), "--config", self.config], stdout=log, stderr=log)
        end = time.monotonic() + 60
        while not all(os.path.exists(f"{self.runtime}/{name}.ipc") for name in ("query", "events")):
            self.check_alive()
            if time.monotonic() > end:
                raise DemoError(f"whend does not open its sockets: {self.log_end()}")
            time.sleep(0.02)
        self.follow = self.children.start(self.whenctl("follow", "--json", "--progress", "--after", "0"), stdout=subprocess.PIPE, text=True)
        self.follow_lines = Lines(self.follow.stdout)

    def whenctl(self, *args):
        return [program("whenctl"), "--runtime-dir", self.runtime, *args]

    def server_line(self, key, timeout_s):
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            line = self.server_lines.next(0.2)
            if line is None:
                raise DemoError("the RTSP server ended: " + self.last_line(os.path.join(self.dir, "rtsp.log")))
            if line.startswith(key + " "):
                return line.split()[1]
        raise DemoError(f"the RTSP server does not say its {key}")

    def write_config(self, url):
        with open(self.config, "w") as file:
            file.write(f"""# Written by ./run demo
state_dir: {self.dir}/state
runtime_dir: {self.runtime}
model:
  path: {ROOT}/demo/model
cameras:
  gate:
    url: {url}
  yard:
    url: {ROOT}/demo/cameras/yard.mp4
    start: {YARD_START.isoformat().replace("+00:00", "Z")}
    start_error: 50ms
watches:
""")
            for name, (question, _) in WATCHES.items():
                file.write(f"  {name}:\n    question: {question}\n")

    def last_line(self, path):
        try:
            with open(path) as file:
                return (file.read().strip().splitlines() or ["(it said nothing)"])[-1]
        except OSError:
            return "(no log)"

    def log_end(self):
        return self.last_line(self.log)

    def check_alive(self):
        if self.daemon.poll() is not None:
            raise DemoError(f"whend ended with exit code {self.daemon.returncode}: {self.log_end()}")

    # --- watching ---

    def watch(self):
        """Shows what happens until both cameras were examined to their end."""
        screen = self.screen
        screen.line(screen.bold("whend watches two cameras") + screen.dim(
            f"   gate: RTSP, live, {GATE_SECONDS:.0f} s   yard: a file of 180 s   {len(WATCHES)} watches"))
        while not self.finished():
            line = self.follow_lines.next(0.25)
            if line is None:
                self.check_alive()
                raise DemoError("whenctl follow ended while whend runs: " + self.log_end())
            if line:
                self.on_line(json.loads(line))
            self.read_server()
            self.check_alive()
            if time.monotonic() - self.begin > GIVE_UP_S:
                raise DemoError(f"not examined after {GIVE_UP_S} s: {self.progress}")
            screen.progress(self.rows())
        screen.finish()

    def read_server(self):
        while line := self.server_lines.next(0):
            if line.startswith("first-frame-utc-us ") and self.gate_start_us is None:
                self.gate_start_us = int(line.split()[1])
            self.gate_over = self.gate_over or line.startswith("end of stream")

    def on_line(self, line):
        if line.get("type") == "progress":
            self.progress[line["camera"]] = line
        elif line.get("type") == "event":
            self.show_event(line)

    def show_event(self, event):
        screen = self.screen
        start, end = event["start_us"], event["end_us"]
        name = f"{event['camera']:5} {event['watch']:10}"
        at = screen.dim(f"{time.monotonic() - self.begin:6.1f} s ")
        if event["state"] == "open" and event["revision"] == 1:
            screen.line(f"{at} {name} " + screen.bold("opened") + f"  since {clock(start)}")
        elif event["state"] == "final":
            error = max(event["start_err_us"], event["end_err_us"]) / 1e6
            screen.line(f"{at} {name} " + screen.green("closed") +
                        f"  {clock(start)} - {clock(end)} UTC  within {error:.2f} s  ({event['description']})")
        elif event["state"] == "retracted":
            screen.line(f"{at} {name} " + screen.red("taken back") + f"  {clock(start)}")

    def gate_share(self):
        """Of the live minute: how much has come."""
        newest = self.progress.get("gate", {}).get("utc_us", 0)
        if self.gate_start_us is None or not newest:
            return 0.0
        return min(max((newest - self.gate_start_us) / 1e6 / GATE_SECONDS, 0.0), 1.0)

    def finished(self):
        """The ledger has the last word: all that the cameras showed was examined, for every watch."""
        if not self.gate_over or self.progress.get("yard", {}).get("done", 0) < 1.0 or time.monotonic() < self.next_check:
            return False
        self.next_check = time.monotonic() + 0.5
        cameras = {entry["camera"]: entry for entry in self.json("coverage")["coverage"]}
        ends = {watch: 0 for watch in WATCHES}
        for span in cameras["gate"]["spans"]:
            if span["state"] == "examined":
                ends[span["watch"]] = max(ends[span["watch"]], span["end_us"])
        nothing_waits = not any(entry["waiting_us"] for entry in cameras.values())
        return nothing_waits and min(ends.values()) >= self.gate_start_us + (GATE_SECONDS - 1) * 1e6

    def rows(self):
        elapsed = time.monotonic() - self.begin
        rows = []
        for camera in ("gate", "yard"):
            progress = self.progress.get(camera)
            if not progress:
                rows.append((0.0, f"{camera}  waiting for the first frame"))
                continue
            share = self.gate_share() if camera == "gate" else progress["done"]
            left = elapsed / share * (1 - share) if share > 0.02 else None
            if camera == "gate" and self.gate_start_us:
                left = max(GATE_SECONDS - (time.time() - self.gate_start_us / 1e6), 0)
            tail = "" if left is None else "  done" if share >= 1 else f"  {left:.0f} s left" if left else "  the last window"
            rows.append((share, f"{camera}  {progress['frames']} frames  {progress['windows']} windows  "
                                f"{progress['questions']} questions{tail}"))
        return rows

    # --- answers ---

    def json(self, *args):
        """What whenctl ... --json says."""
        result = subprocess.run(self.whenctl(*args, "--json"), capture_output=True, text=True, timeout=30)
        if result.returncode not in (0, 1):  # ask: found, not found
            raise DemoError(f"whenctl {args[0]} failed: {result.stderr.strip()}")
        return json.loads(result.stdout) if args[0] != "events" else [json.loads(line) for line in result.stdout.splitlines()]

    def ask(self, question):
        result = subprocess.run(self.whenctl("ask", question), capture_output=True, text=True, timeout=30)
        self.screen.line()
        self.screen.line(self.screen.bold(f"$ whenctl ask \"{question}\""))
        for line in (result.stdout + result.stderr).rstrip().splitlines():
            self.screen.line(line)
        return self.json("ask", question)

    def compare(self):
        """Every event of every watch beside the truth."""
        events = self.json("events")
        screen, tally = self.screen, Tally()
        notice = self.json("status").get("model_notice")
        origin = {"gate": self.gate_start_us, "yard": int(YARD_START.timestamp() * 1e6)}
        screen.line()
        if notice:
            screen.line(screen.dim(notice))
        screen.line(screen.bold(f"{'camera':7}{'watch':11}{'answer, UTC':42}{'truth, UTC':25}  IoU"))
        for camera, truth in self.truth.items():
            for watch, (_, description) in WATCHES.items():
                truths = [(t["start_seconds"], t["end_seconds"]) for t in truth if t["description"] == description]
                answers = [tuple((e[key] - base) / 1e6 for key, base in
                                 (("start_us", origin[camera]), ("end_us", origin[camera]), ("start_err_us", 0), ("end_err_us", 0)))
                           for e in events if e["camera"] == camera and e["watch"] == watch]
                rows, extra = tally.add(truths, answers)
                for true, answer, value in rows:
                    self.compare_line(camera, watch, answer, true, value, origin[camera])
                for answer in extra:
                    self.compare_line(camera, watch, answer, None, 0.0, origin[camera])
        return tally

    def compare_line(self, camera, watch, answer, true, value, origin):
        def span(interval):
            return " - ".join(clock(origin + round(t * 1e6)) for t in interval[:2])
        said = f"{span(answer)} -/+{answer[2]:.2f} {answer[3]:.2f} s" if answer else "missed"
        text = f"{camera:7}{watch:11}{said:42}{span(true) if true else 'did not happen':25}  {value:.2f}"
        self.screen.line(text if answer and true else self.screen.red(text))

    def verdict(self, tally, in_vain):
        wall_s = time.monotonic() - self.begin
        screen = self.screen
        screen.line()
        screen.line(f"events {len(tally.ious)}  missed {tally.missed}  spurious {tally.spurious}  boundaries inside the stated "
                    f"error {tally.boundaries_inside} of {tally.boundaries} ({100 * tally.inside_share:.0f} %)")
        for name, value, bound, met in (("demo.mean_iou", f"{tally.mean_iou:.3f}", GOAL_IOU, tally.mean_iou >= GOAL_IOU),
                                        ("demo.wall_s", f"{wall_s:.1f}", GOAL_WALL_S, wall_s <= GOAL_WALL_S)):
            screen.line(f"goal {name} {value} {bound} {'met' if met else 'short'}")
        failures = []
        if tally.mean_iou < GOAL_IOU:
            failures.append(f"mean temporal IoU {tally.mean_iou:.3f} is below {GOAL_IOU}")
        if tally.missed:
            failures.append(f"{tally.missed} events were missed")
        if in_vain["events"]:
            failures.append(f"\"{ASKED_IN_VAIN}\" was answered with {len(in_vain['events'])} events that did not happen")
        for failure in failures:
            screen.line(screen.red(f"failed: {failure}"))
        return 1 if failures else 0

    def run(self):
        self.start()
        self.watch()
        self.ask(ASKED)
        in_vain = self.ask(ASKED_IN_VAIN)
        return self.verdict(self.compare(), in_vain)

    def say_how_to_look(self):
        pids = " ".join(str(child.pid) for child in (self.daemon, self.server))
        print(f"""
whend is left running (--keep). Look around:
  build/whenctl --runtime-dir {self.runtime} ask "when was the door open?"
  build/whenctl --runtime-dir {self.runtime} events
  build/whenctl --runtime-dir {self.runtime} status
  build/whenctl --runtime-dir {self.runtime} coverage
  build/whenctl --runtime-dir {self.runtime} follow
  its configuration, log and state: {self.dir}
Stop it and clean up:
  kill {pids}; rm -r {self.dir}""")


def main():
    parser = argparse.ArgumentParser(prog="./run demo", description="whend watches two rendered cameras; are its answers true?")
    parser.add_argument("--keep", action="store_true", help="leave all running and say how to look around")
    keep = parser.parse_args().keep
    os.chdir(ROOT)

    def end(number, _):
        raise KeyboardInterrupt(signal.Signals(number).name)
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)
    demo = Demo(keep)
    kept = False
    try:
        code = demo.run()
        if keep:
            demo.follow.terminate()
            demo.follow.wait()
            demo.say_how_to_look()
            kept = True
        return code
    except DemoError as error:
        demo.screen.finish()
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        demo.screen.finish()
        print("demo: stopped", file=sys.stderr)
        return 130
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # the tidying is not to be cut short
        if not kept:
            demo.children.stop()
            shutil.rmtree(demo.dir, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
