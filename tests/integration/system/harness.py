"""Starts the real programs in a temporary folder and talks to them as any client may.

Nothing here sleeps to synchronise: readiness comes by sd_notify's protocol, everything else by messages that the daemon
publishes (its heartbeat and progress lines are the clock of every wait).

A test file calls main(): `test_x.py --build DIR NAME` runs one test method, exit code 77 means skipped.
"""
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BUILD = os.environ.get("WHEN_BUILD", os.path.join(SOURCE, "build"))
if "--build" in sys.argv:
    BUILD = os.path.abspath(sys.argv.pop(sys.argv.index("--build") + 1))
    sys.argv.remove("--build")
sys.path.insert(0, os.path.join(BUILD, "tests", "python"))  # protoc's output

import zmq  # noqa: E402

import event_pb2  # noqa: E402
import query_pb2  # noqa: E402

CAMERAS = os.path.join(SOURCE, "demo", "cameras")
MODEL = os.environ.get("WHEN_TEST_MODEL", os.path.join(SOURCE, "demo", "model"))
WAIT_S = 120  # upper bound of every wait; reached only when something is broken
START_US = 1767594600 * 1000000  # 2026-01-05T06:30:00Z, the configured start of file cameras


def program(name):
    return os.path.join(BUILD, name)


def die_with_parent():
    """In the child: SIGKILL when this test dies, so that no failure leaves a daemon behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def run(*args, timeout=60, **kwargs):
    """Runs a program to its end; the result has returncode, stdout and stderr as text."""
    return subprocess.run(args, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL,
                          preexec_fn=die_with_parent, errors="replace", **kwargs)


def processes():
    """{pid: (parent, [arguments])} of everything that runs and is no zombie."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat") as stat:
                fields = stat.read().rpartition(")")[2].split()
            with open(f"/proc/{name}/cmdline", "rb") as cmdline:
                args = cmdline.read().decode(errors="replace").split("\0")[:-1]
        except OSError:
            continue
        if fields[0] not in "ZX":
            found[int(name)] = (int(fields[1]), args)
    return found


def alive(pid):
    return pid in processes()


class RtspServer:
    """build/rtsp-server on a free loopback port, with the lines that it prints."""

    def __init__(self, video, *options):
        self.process = subprocess.Popen([program("rtsp-server"), "--port", "0", *options, video], text=True,
                                        stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        self.url = self.wait_line("url ")

    def wait_line(self, prefix):
        """The rest of the next line that begins with prefix."""
        for line in self.process.stdout:
            if line.startswith(prefix):
                return line[len(prefix):].strip()
        raise AssertionError(f"rtsp-server ended without a line '{prefix}...'")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(WAIT_S)
        self.process.stdout.close()


class Subscriber:
    """A SUB socket of its own: keeps every EventMessage; answers waits."""

    def __init__(self, endpoint, topics=("event/", "heartbeat", "progress")):
        self.socket = zmq.Context.instance().socket(zmq.SUB)
        self.socket.setsockopt(zmq.LINGER, 0)
        for topic in topics:
            self.socket.setsockopt_string(zmq.SUBSCRIBE, topic)
        self.socket.connect(endpoint)
        self.messages = []  # EventMessage in the order of arrival
        self.heartbeat = None
        self.progress = {}  # camera: the newest Progress

    def pump(self, timeout_ms):
        """Reads one message; False when none came."""
        if not self.socket.poll(timeout_ms):
            return False
        topic, body = self.socket.recv_multipart()
        if topic.startswith(b"event/"):
            message = event_pb2.EventMessage.FromString(body)
            expected = f"event/{message.event.camera}/{message.event.watch}"
            assert topic.decode() == expected, (topic, expected)
            self.messages.append(message)
        elif topic == b"heartbeat":
            self.heartbeat = event_pb2.Heartbeat.FromString(body)
        elif topic.startswith(b"progress"):
            progress = event_pb2.Progress.FromString(body)
            self.progress[progress.camera] = progress
        return True

    def wait(self, condition, what, timeout_s=WAIT_S):
        """Reads messages until condition() is true; it is asked after each one."""
        end = time.monotonic() + timeout_s
        while not condition():
            left = end - time.monotonic()
            if left <= 0:
                raise AssertionError(f"waited {timeout_s} s in vain: {what}")
            self.pump(min(left, 1.0) * 1000)

    def close(self):
        self.socket.close()


def free_address():
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return "127.0.0.1:%d" % probe.getsockname()[1]


class World:
    """A temporary folder with a whend in it. Use as a context manager: it leaves nothing behind."""

    def __init__(self, watches=None, cameras=None, model=MODEL, extra="", options=None):
        self.dir = tempfile.mkdtemp(prefix="whend-test-")
        self.state = os.path.join(self.dir, "state")
        self.runtime = os.path.join(self.dir, "run")
        self.config = os.path.join(self.dir, "whend.yaml")
        self.log_path = os.path.join(self.dir, "log")
        self.watches = watches if watches is not None else {"red-car": "When does a red car drive past?"}
        self.cameras = cameras if cameras is not None else {"gate": file_camera("gate.mp4")}
        self.model = model
        self.extra = extra
        self.options = options or {}
        self.daemon = None
        self.notify = None
        self.subscribers = []
        self.write_config()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        for subscriber in self.subscribers:
            subscriber.close()
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.kill()
            self.daemon.wait()
        if self.notify:
            self.notify.close()
        if kind is not None and kind is not unittest.SkipTest and os.path.exists(self.log_path):
            sys.stderr.write(f"--- log of whend, end\n{self.log()[-6000:]}\n---\n")
        shutil.rmtree(self.dir, ignore_errors=True)

    @property
    def events_endpoint(self):
        return self.options.get("events", f"ipc://{self.runtime}/events.ipc")

    @property
    def query_endpoint(self):
        return self.options.get("query", f"ipc://{self.runtime}/query.ipc")

    @property
    def http(self):
        return self.options.get("http", "off")

    def metrics(self):
        """{name and labels as they are written: value} of a world with the option `http`."""
        with urllib.request.urlopen(f"http://{self.http}/metrics", timeout=WAIT_S) as response:
            lines = response.read().decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}

    def write_config(self):
        lines = [f"state_dir: {self.state}", f"runtime_dir: {self.runtime}", "log_level: debug", "model:",
                 f"  path: {self.model}", "endpoints:", f"  events: {self.events_endpoint}",
                 f"  query: {self.query_endpoint}", f"http: {{address: {self.http}}}", "cameras:"]
        for name, keys in self.cameras.items():
            lines += [f"  {name}:"] + [f"    {key}: {value}" for key, value in keys.items()]
        lines += ["watches:"]
        for name, question in self.watches.items():
            lines += [f"  {name}:", f"    question: \"{question}\""]
        with open(self.config, "w") as file:
            file.write("\n".join(lines) + "\n" + self.extra)

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def start(self, ready=True, **kwargs):
        """Starts whend and, unless told otherwise, waits for its READY=1."""
        if self.notify:
            self.notify.close()
        path = os.path.join(self.dir, "notify")
        if os.path.exists(path):
            os.unlink(path)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(path)
        os.chmod(path, 0o777)
        environment = dict(os.environ, NOTIFY_SOCKET=path)
        with open(self.log_path, "ab") as log:
            self.daemon = subprocess.Popen([program("whend"), "--config", self.config], stdout=log, stderr=log,
                                           stdin=subprocess.DEVNULL, env=environment, preexec_fn=die_with_parent,
                                           **kwargs)
        if ready:
            self.wait_notify("READY=1")
        return self

    def wait_notify(self, line, timeout_s=WAIT_S):
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            self.notify.settimeout(0.5)
            try:
                if line in self.notify.recv(4096).decode(errors="replace").split("\n"):
                    return
            except socket.timeout:
                pass
            if self.daemon.poll() is not None:
                raise AssertionError(f"whend ended with {self.daemon.returncode} before {line}: {self.log()[-800:]}")
        raise AssertionError(f"whend did not say {line} within {timeout_s} s")

    def stop(self):
        """SIGTERM, as systemd does; the exit code."""
        self.daemon.terminate()
        return self.daemon.wait(WAIT_S)

    def subscribe(self, **kwargs):
        subscriber = Subscriber(self.events_endpoint, **kwargs)
        self.subscribers.append(subscriber)
        return subscriber

    def request(self, timeout_s=WAIT_S, **body):
        """Sends one Request, returns all its Responses."""
        dealer = zmq.Context.instance().socket(zmq.DEALER)
        dealer.setsockopt(zmq.LINGER, 0)
        try:
            dealer.connect(self.query_endpoint)
            dealer.send(query_pb2.Request(version=1, request_id=7, **body).SerializeToString())
            responses = []
            end = time.monotonic() + timeout_s
            while not responses or not responses[-1].last:
                if not dealer.poll(max(end - time.monotonic(), 0) * 1000):
                    raise AssertionError(f"no answer from whend within {timeout_s} s")
                responses.append(query_pb2.Response.FromString(dealer.recv()))
                assert responses[-1].request_id == 7
            return responses
        finally:
            dealer.close()

    def status(self):
        return self.request(status=query_pb2.StatusRequest())[0].status

    def worker(self, name):
        return next((worker for worker in self.status().workers if worker.name == name), None)

    def coverage(self, camera, watch=None):
        request = query_pb2.CoverageRequest(cameras=[camera], watches=[watch] if watch else [])
        response = self.request(coverage=request)[0].coverage
        return next((entry for entry in response.cameras if entry.camera == camera), None)

    def replay(self, after=0):
        """([EventMessage], last_sequence, daemon_id) of everything committed after a sequence number."""
        messages, last, daemon_id = [], 0, ""
        for response in self.request(replay=query_pb2.ReplayRequest(after_sequence=after)):
            assert response.HasField("replay"), response
            messages += response.replay.messages
            last, daemon_id = response.replay.last_sequence, response.replay.daemon_id
        return messages, last, daemon_id

    def events(self):
        return self.request(events=query_pb2.EventsRequest())[0].events.events

    def ctl(self, *args, **kwargs):
        return run(program("whenctl"), "--endpoint", self.query_endpoint, *args, **kwargs)

    def wait_examined(self, subscriber, camera="gate", timeout_s=WAIT_S):
        """Until a file camera was examined to its end."""
        def done():
            cameras = self.request(cameras=query_pb2.CamerasRequest())[0].cameras.cameras
            status = next(entry for entry in cameras if entry.name == camera)
            whend = self.status()
            for worker in whend.workers:
                assert worker.state != "failed", worker
            return status.done >= 1.0 and whend.windows_waiting == 0
        subscriber.wait(done, f"camera {camera} examined to its end", timeout_s)


def file_camera(name, **keys):
    path = name if os.path.isabs(name) else os.path.join(CAMERAS, name)
    return {"url": path, "start": "2026-01-05T06:30:00Z", **keys}


def one_line(text):
    """The single line of an error message; fails when there are more or none."""
    lines = text.strip().splitlines()
    assert len(lines) == 1, f"expected one line, got {len(lines)}:\n{text}"
    return lines[0]


def main():
    """Runs the test methods named on the command line, or all; 77 when all of them were skipped."""
    loader = unittest.TestLoader()
    module = sys.modules["__main__"]
    suite = unittest.TestSuite()
    for case in loader.loadTestsFromModule(module):
        for test in case:
            if len(sys.argv) < 2 or test.id().rpartition(".")[2].removeprefix("test_") in sys.argv[1:]:
                suite.addTest(test)
    if not suite.countTestCases():
        sys.exit(f"no such test: {sys.argv[1:]}")
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    if not result.wasSuccessful():
        sys.exit(1)
    for _, reason in result.skipped:
        print(f"skipped: {reason}")
    sys.exit(77 if len(result.skipped) == result.testsRun else 0)
