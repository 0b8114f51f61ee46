"""Starts a whend-camera as whend would, and an rtsp-server as a camera would be."""
import os
import signal
import subprocess
import tempfile
import time

import zmq

import worker_pb2

BUILD = os.environ["WHEN_BUILD"]
CAMERAS = os.environ["WHEN_CAMERAS"]
WAIT_S = 20


def is_state(state, word=""):
    return lambda m: m.HasField("health") and m.health.state == state and word in m.health.reason


def is_frame(session=None):
    return lambda m: m.HasField("frame") and session in (None, m.frame.session)


def usage(pid):
    """Threads, open descriptors, and resident memory in KiB."""
    with open(f"/proc/{pid}/status") as status:
        resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    return len(os.listdir(f"/proc/{pid}/task")), len(os.listdir(f"/proc/{pid}/fd")), resident


class Server:
    """build/rtsp-server with the lines that it prints."""

    def __init__(self, video, *options, port=0, program="rtsp-server"):
        self.process = subprocess.Popen([os.path.join(BUILD, program), "--port", str(port), *options, video],
                                        text=True, stdout=subprocess.PIPE)
        self.url = self.line("url ")

    def line(self, prefix):
        for line in self.process.stdout:
            if line.startswith(prefix):
                return line[len(prefix):].strip()
        raise AssertionError(f"rtsp-server ended without a line '{prefix}'")

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Camera:
    """A ROUTER socket in the place of whend, and one worker."""

    def __init__(self, name="camera/gate/1", restore_signals=True, env=None, program=None):
        self.name = name.encode()
        self.dir = tempfile.TemporaryDirectory(prefix="when-camera-")
        endpoint = f"ipc://{self.dir.name}/workers.ipc"
        self.socket = zmq.Context.instance().socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(endpoint)
        self.log = open(os.path.join(self.dir.name, "log"), "w+")
        self.process = subprocess.Popen([program or os.path.join(BUILD, "whend-camera"), "--connect", endpoint, "--id", name,
                                         "--log-level", "debug"], stderr=self.log, restore_signals=restore_signals, env=env)
        self.messages = []
        self.frames = []  # (FrameInfo, bytes of pixels), when keep_pixels is set
        self.keep_pixels = False
        self.health = None
        self.wait(lambda m: m.HasField("camera_hello"))

    def send(self, message):
        message.version = 1
        self.socket.send_multipart([self.name, message.SerializeToString()])

    def setup(self, **fields):
        values = dict(name="gate", transport="tcp", fps_min=2, fps_base=2, fps_max=2, cell_px=28, min_pixels=3136,
                      max_pixels=602112, stall_us=3000000, segment_us=60000000)
        values.update(fields)
        message = worker_pb2.ToWorker()
        message.camera_setup.CopyFrom(worker_pb2.CameraSetup(**values))
        self.send(message)

    def credit(self, frames):
        message = worker_pb2.ToWorker()
        message.credit.frames = frames
        self.send(message)

    def stop(self):
        message = worker_pb2.ToWorker()
        message.stop.SetInParent()
        self.send(message)

    def receive(self, timeout_s):
        """The next message, or None."""
        if not self.socket.poll(int(timeout_s * 1000)):
            return None
        parts = self.socket.recv_multipart()
        assert parts[0] == self.name, parts[0]
        message = worker_pb2.FromWorker.FromString(parts[1])
        assert message.version == 1
        if message.HasField("frame"):
            assert len(parts) == 3 and len(parts[2]) == message.frame.width * message.frame.height * 3
            if self.keep_pixels:
                self.frames.append((message.frame, parts[2]))
        else:
            assert len(parts) == 2
        if message.HasField("health"):
            self.health = message.health
        self.messages.append(message)
        return message

    def wait(self, condition, timeout_s=WAIT_S):
        """Reads messages until condition(message) holds; returns that message."""
        end = time.monotonic() + timeout_s
        while (left := end - time.monotonic()) > 0:
            message = self.receive(left)
            if message is not None and condition(message):
                return message
        raise AssertionError(f"not seen in {timeout_s} s; last health: {self.health}; log:\n{self.log_text()}")

    def of(self, kind):
        return [getattr(m, kind) for m in self.messages if m.HasField(kind)]

    def log_text(self):
        self.log.flush()
        with open(self.log.name) as file:
            return file.read()

    def wait_exit(self, timeout_s=WAIT_S):
        end = time.monotonic() + timeout_s
        while self.process.poll() is None and time.monotonic() < end:
            self.receive(0.05)
        code = self.process.wait(0.1)
        while self.receive(0.05) is not None:
            pass
        return code

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()
        self.socket.close()
        self.dir.cleanup()
