"""The real whend with stub workers: the test is the cameras' and the model's brain, so that every order of events can
be made at will. Nothing sleeps to synchronise: every wait is for a message.
"""
import ctypes
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(sys.argv.pop(sys.argv.index("--build") + 1))
sys.argv.remove("--build")
PYTHON = os.path.join(BUILD, "tests", "python_daemon")
sys.path.insert(0, PYTHON)

import zmq  # noqa: E402

import event_pb2  # noqa: E402
import query_pb2  # noqa: E402

S = 1000000
UTC = 1767594600 * S  # 2026-01-05T06:30:00Z: frame of pts 0
WAIT_S = 60  # reached only when something is broken
OPEN, FINAL, RETRACTED = 1, 2, 3
WAITING, EXAMINED, LOST = 1, 2, 3


def before_exec():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # no daemon outlives a failed test
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a full disk is an error code, not a signal


class Worker:
    """One incarnation of a stub worker."""

    def __init__(self, world, peer, message):
        self.world, self.peer = world, peer
        self.id, self.pid = message["id"], message["pid"]
        self.name = self.id.rpartition("/")[0]
        self.events = []

    def order(self, do, **more):
        self.world.control.send_multipart([self.peer, json.dumps({"do": do, **more}).encode()])

    def frames(self, start_s, end_s, session=1, fps=2, wait=True, utc=UTC, **more):
        """Sends frames of [start_s, end_s) of stream time."""
        n = self.count("sent")
        self.order("frames", start=int(start_s * S), end=int(end_s * S), step=int(S / fps), session=session,
                   utc_minus_pts=utc, **more)
        if wait:
            self.world.wait(lambda: self.count("sent") > n, "frames sent")

    def count(self, event):
        return sum(e["event"] == event for e in self.events)

    def last(self, event):
        return [e for e in self.events if e["event"] == event][-1]

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)


class World:
    def __init__(self, watches=None):
        self.dir = tempfile.mkdtemp(prefix="when-d")
        self.config_path = os.path.join(self.dir, "whend.yaml")
        self.cameras, self.watches = {}, watches or {"car": "When does a car drive past?"}
        self.model = {}
        self.options = {"window": "16s", "overlap": "4s", "boundary_error": "500ms",
                        "http": "{address: off}"}
        self.context = zmq.Context()
        self.control = self.context.socket(zmq.ROUTER)
        self.control.bind(f"ipc://{self.dir}/test.ipc")
        self.subscriber = self.context.socket(zmq.SUB)
        self.subscriber.setsockopt(zmq.LINGER, 0)
        self.subscriber.setsockopt(zmq.SUBSCRIBE, b"")
        self.subscriber.connect(self.events_endpoint())
        self.process = None
        self.log = open(os.path.join(self.dir, "log"), "ab")
        self.reset()
        self.truth = {}  # question: [(start, end)] in UTC microseconds; answered by itself
        self.auto = True
        self.messages = []  # every EventMessage published
        self.heartbeat = None
        self.progress = {}

    def reset(self):
        self.workers, self.by_peer, self.jobs = [], {}, []

    def events_endpoint(self):
        return f"ipc://{self.dir}/run/events.ipc"

    def query_endpoint(self):
        return f"ipc://{self.dir}/run/query.ipc"

    # --- the daemon ---

    def file_camera(self, name, **more):
        path = os.path.join(self.dir, name + ".mp4")
        with open(path, "w") as file:
            file.write(name)
        self.cameras[name] = {"url": path, **more}

    def write_config(self):
        lines = [f"state_dir: {self.dir}/state", f"runtime_dir: {self.dir}/run", "log_level: debug", "model:",
                 f"  path: {self.dir}/model"]
        lines += [f"  {key}: {value}" for key, value in self.model.items()]
        lines += [f"{key}: {value}" for key, value in self.options.items()]
        for section, entries in (("cameras", self.cameras), ("watches", self.watches)):
            lines.append(f"{section}:")
            for name, entry in entries.items():
                entry = entry if isinstance(entry, dict) else {"question": entry}
                lines.append(f"  {name}:")
                lines += [f"    {key}: {value}" for key, value in entry.items()]
        with open(self.config_path, "w") as file:
            file.write("\n".join(lines) + "\n")

    def command(self, *args):
        return [os.path.join(BUILD, "whend"), "--config", self.config_path, *args]

    def environment(self):
        return dict(os.environ, WHEN_LIBEXEC_DIR=os.path.join(HERE, "stub"), PYTHONPATH=PYTHON,
                    WHEN_STUB_TEST=f"ipc://{self.dir}/test.ipc")

    def start(self, load=True):
        self.write_config()
        self.reset()
        if self.process:
            self.notify.close()
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        path = os.path.join(self.dir, "notify")
        if os.path.exists(path):
            os.unlink(path)
        notify.bind(path)
        self.notify, self.words = notify, []
        self.process = subprocess.Popen(self.command(), env=dict(self.environment(), NOTIFY_SOCKET=path),
                                        stderr=self.log, stdin=subprocess.DEVNULL, preexec_fn=before_exec)
        self.wait_notified("READY=1")
        self.heartbeat = None
        self.wait(lambda: self.heartbeat, "subscription")  # from here on nothing published is missed
        if load:
            self.wait(lambda: self.worker("analyst/0") and self.worker("analyst/0").count("setup"), "analyst")
            self.worker("analyst/0").order("loaded")

    def notified(self, word):
        """Has whend said this since the last time it was asked?"""
        try:
            while True:
                self.words.append(self.notify.recv(4096, socket.MSG_DONTWAIT).decode())
        except BlockingIOError:
            pass
        found = any(word in text for text in self.words)
        if found:
            self.words = []
        return found

    def wait_notified(self, word):
        self.wait(lambda: self.notified(word), word)

    def kill(self):
        self.process.kill()
        self.process.wait(WAIT_S)

    def stop(self):
        """SIGTERM to the end; the seconds that it took."""
        begin = time.monotonic()
        self.process.terminate()
        code = self.process.wait(WAIT_S)
        assert code == 0, code
        return time.monotonic() - begin

    def run_to_end(self, *args):
        return subprocess.run(self.command(*args), env=self.environment(), capture_output=True, text=True,
                              timeout=WAIT_S, stdin=subprocess.DEVNULL, preexec_fn=before_exec)

    def limit_files(self, size):
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def logged(self):
        with open(os.path.join(self.dir, "log"), errors="replace") as log:
            return log.read()

    def close(self, keep):
        if self.process and self.process.poll() is None:
            self.kill()
        self.control.close(linger=0)
        self.subscriber.close(linger=0)
        self.context.destroy(linger=0)
        if self.process:
            self.notify.close()
        self.log.close()
        if keep:
            with open(os.path.join(self.dir, "log"), errors="replace") as log:
                sys.stderr.write("".join(log.readlines()[-60:]))
        shutil.rmtree(self.dir, ignore_errors=True)

    # --- what happens ---

    def pump(self, timeout_ms=200):
        poller = zmq.Poller()
        poller.register(self.control, zmq.POLLIN)
        poller.register(self.subscriber, zmq.POLLIN)
        for ready, _ in poller.poll(timeout_ms):
            if ready is self.control:
                self.take_control(*self.control.recv_multipart())
            else:
                self.take_published(*self.subscriber.recv_multipart())

    def take_control(self, peer, body):
        message = json.loads(body)
        worker = self.by_peer.get(peer)
        if not worker:
            worker = self.by_peer[peer] = Worker(self, peer, message)
            self.workers.append(worker)
        worker.events.append(message)
        if message["event"] == "job":
            self.jobs.append(message)
            if self.auto:
                self.answer(message)

    def take_published(self, topic, body):
        if topic.startswith(b"event/"):
            message = event_pb2.EventMessage.FromString(body)
            assert topic.decode() == f"event/{message.event.camera}/{message.event.watch}"
            self.messages.append(message)
        elif topic == b"heartbeat":
            self.heartbeat = event_pb2.Heartbeat.FromString(body)
        elif topic == b"progress":
            progress = event_pb2.Progress.FromString(body)
            self.progress[progress.camera] = progress

    def answer(self, job):
        """Answers by the truth, in seconds from the first frame, cut to the window."""
        first, last = job["utc"][0], job["utc"][-1]
        answers = {question: [[(max(s, first) - first) / S, (min(e, last) - first) / S, "a car drives past"]
                              for s, e in self.truth.get(text, []) if s < last and e > first]
                   for question, text in job["questions"].items()}
        self.worker("analyst/0").order("answer", job=job["job"], answers=answers)

    def wait(self, condition, what):
        end = time.monotonic() + WAIT_S
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"waited {WAIT_S} s for: {what}")
            if self.process.poll() is not None:
                raise AssertionError(f"whend ended with {self.process.returncode} while waiting for: {what}")
            self.pump()

    def worker(self, name):
        """The newest incarnation."""
        found = [w for w in self.workers if w.name == name]
        return found[-1] if found else None

    def incarnations(self, name):
        return sum(w.name == name for w in self.workers)

    def wait_camera(self, name, incarnation=1):
        self.wait(lambda: self.incarnations(name) >= incarnation and self.worker(name).count("setup"), name)
        return self.worker(name)

    def events(self):
        """{id: newest published revision}"""
        return {m.event.id: m.event for m in self.messages}

    # --- the service ---

    def ask_raw(self, *parts):
        client = self.context.socket(zmq.DEALER)
        client.setsockopt(zmq.LINGER, 0)
        client.connect(self.query_endpoint())
        client.send_multipart(parts)
        responses = []
        end = time.monotonic() + WAIT_S
        while not responses or not responses[-1].last:
            assert time.monotonic() < end and self.process.poll() is None, "no response"
            self.pump(0)
            if client.poll(100):
                responses.append(query_pb2.Response.FromString(client.recv()))
        client.close()
        return responses

    def ask(self, **body):
        responses = self.ask_raw(query_pb2.Request(version=1, request_id=7, **body).SerializeToString())
        assert all(r.request_id == 7 for r in responses)
        return responses

    def replay(self, after=0):
        """All EventMessages after a sequence number."""
        responses = self.ask(replay=query_pb2.ReplayRequest(after_sequence=after))
        assert responses[-1].HasField("replay"), responses[-1]
        return [m for r in responses for m in r.replay.messages], responses[-1].replay.last_sequence

    def status(self):
        return self.ask(status=query_pb2.StatusRequest())[0].status

    def worker_status(self, name):
        return next((w for w in self.status().workers if w.name == name), None)

    def camera_status(self, name):
        cameras = self.ask(cameras=query_pb2.CamerasRequest())[0].cameras.cameras
        return next(c for c in cameras if c.name == name)

    def wait_frames(self, name, frames):
        self.wait(lambda: self.camera_status(name).frames == frames, f"{frames} frames of {name}")

    def ledger(self, camera, state=0, watch="car"):
        """[(start, end)] in seconds of stream time, and the reasons."""
        response = self.ask(coverage=query_pb2.CoverageRequest(cameras=[camera], watches=[watch]))[0]
        return [((s.start_us - UTC) / S, (s.end_us - UTC) / S, s.state, s.reason)
                for c in response.coverage.cameras for s in c.spans if state in (0, s.state)]
