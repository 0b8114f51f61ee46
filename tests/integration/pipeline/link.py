"""A bad network between two network namespaces of the test's own: packets are lost and late.

Two TUN devices, one a namespace, and a thread that carries packets between them. Where the kernel has netem, `tc` is told
to lose and delay them on both devices; elsewhere the thread does the same. What cannot be had here is a SkipTest.
"""
import ctypes
import fcntl
import heapq
import os
import random
import select
import shutil
import struct
import subprocess
import threading
import time
import unittest

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
CAMERA, HOST = "10.77.0.1", "10.77.0.2"  # the ends of the link
DEVICE = "bad0"


def enter_namespace():
    """A fresh network namespace for what this thread starts from now on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) == 0:
        return
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        raise unittest.SkipTest(f"no network namespaces here: {os.strerror(ctypes.get_errno())}")
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def ip(*args):
    subprocess.run(["ip", *args], check=True)


class Link:
    """enter(CAMERA), start the server; enter(HOST), start the camera's worker; start()."""

    def __init__(self, loss, delay_ms, jitter_ms, seed=1):
        for program in ("ip", "tc"):
            if not shutil.which(program, path="/usr/sbin:/sbin:" + os.environ["PATH"]):
                raise unittest.SkipTest(f"no {program} (apt-get install iproute2)")
        self.loss, self.delay_ms, self.jitter_ms = loss, delay_ms, jitter_ms
        self.random = random.Random(seed)
        self.fds = []
        self.carried, self.lost = {}, {}  # by the device that they came from
        self.netem = True
        self.late_s = 0.0  # the longest that a packet came later than it should: the machine is busy with other things
        self.stop_read, self.stop_write = os.pipe()
        self.thread = threading.Thread(target=self.carry, daemon=True)

    def enter(self, address):
        enter_namespace()
        try:
            fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), IFF_TUN | IFF_NO_PI))
        except OSError as error:
            raise unittest.SkipTest(f"no TUN devices here: {error}") from error
        self.fds.append(fd)
        self.carried[fd] = self.lost[fd] = 0
        ip("link", "set", "lo", "up")
        ip("addr", "add", address, "peer", HOST if address == CAMERA else CAMERA, "dev", DEVICE)
        ip("link", "set", DEVICE, "mtu", "1500", "up")
        self.netem &= subprocess.run(["tc", "qdisc", "add", "dev", DEVICE, "root", "netem", "loss", f"{self.loss:.0%}",
                                      "delay", f"{self.delay_ms}ms", f"{self.jitter_ms}ms"], check=False,
                                     stderr=subprocess.DEVNULL).returncode == 0

    def lost_of_camera(self):
        """How many of the camera's packets were lost; by netem, which does not say, about."""
        camera = self.fds[0]
        return self.carried[camera] * self.loss if self.netem else self.lost[camera]

    def start(self):
        self.thread.start()

    def stop(self):
        os.write(self.stop_write, b"x")
        if self.thread.ident:
            self.thread.join()
        for fd in (*self.fds, self.stop_read, self.stop_write):
            os.close(fd)

    def carry(self):
        late, number = [], 0  # (when, number, to, packet)
        other = {self.fds[0]: self.fds[1], self.fds[1]: self.fds[0]}
        while True:
            wait_s = max(late[0][0] - time.monotonic(), 0) if late else None
            ready = select.select([*self.fds, self.stop_read], [], [], wait_s)[0]
            if self.stop_read in ready:
                return
            for fd in ready:
                packet = os.read(fd, 65536)
                self.carried[fd] += 1
                number += 1
                delay_s = 0.0
                if not self.netem:
                    if self.random.random() < self.loss:
                        self.lost[fd] += 1
                        continue
                    delay_s = (self.delay_ms + self.random.uniform(-self.jitter_ms, self.jitter_ms)) / 1000
                heapq.heappush(late, (time.monotonic() + delay_s, number, other[fd], packet))
            while late and late[0][0] <= time.monotonic():
                due, _, to, packet = heapq.heappop(late)
                self.late_s = max(self.late_s, time.monotonic() - due)
                try:
                    os.write(to, packet)
                except OSError:
                    pass  # a device whose queue is full loses it, as a switch would
