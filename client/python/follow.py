#!/usr/bin/python3
"""An example subscriber in Python: every event of whend, once, in order, also across restarts of either side.

    follow.py [--runtime-dir /run/whend] [--resume FILE] [--after N] [--until-sequence N]
    follow.py [--runtime-dir /run/whend] --ask QUESTION [--during "yesterday evening" [--zone Z]] [--deep]

--resume FILE keeps the last handled sequence number there, so that the next run goes on behind it. Needs Debian's python3-zmq and
python3-protobuf; event_pb2.py and query_pb2.py come from `protoc --python_out` (the build puts them into build/client/python,
beside a copy of this file). docs/protocol.md explains the protocol.
"""
import argparse
import datetime
import json
import os
import sys
import time

import zmq

import event_pb2
import query_pb2

VERSION = 1
ANSWER_S = 10


class Service:
    """The query socket: a request, its responses."""

    def __init__(self, context, endpoint):
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(endpoint)
        self.endpoint = endpoint
        self.last_id = time.time_ns()

    def request(self, deadline_s=ANSWER_S, **body):
        self.last_id += 1
        request = query_pb2.Request(version=VERSION, request_id=self.last_id, deadline_ms=1000 * deadline_s, **body)
        self.socket.send(request.SerializeToString())
        end = time.monotonic() + deadline_s + 10
        while True:
            if not self.socket.poll(max(end - time.monotonic(), 0) * 1000):
                raise TimeoutError(f"no whend answers at {self.endpoint}")
            response = query_pb2.Response.FromString(self.socket.recv())
            if response.request_id != self.last_id:
                continue  # a late answer to an earlier request
            if response.HasField("error"):
                raise RuntimeError(response.error.text)
            yield response
            if response.last:
                return


class Follower:
    """Yields (sequence, event): each once, in order, without a gap."""

    def __init__(self, runtime_dir, sequence, daemon_id=""):
        context = zmq.Context.instance()
        self.service = Service(context, f"ipc://{runtime_dir}/query.ipc")
        self.live = context.socket(zmq.SUB)
        self.live.rcvhwm = 100000
        self.live.subscribe(b"event/")
        self.live.subscribe(b"heartbeat")
        self.live.connect(f"ipc://{runtime_dir}/events.ipc")
        self.sequence, self.daemon_id = sequence, daemon_id

    def events(self):
        for response in self.service.request(status=query_pb2.StatusRequest()):
            self.count_from(response.status.daemon_id)
        yield from self.replay()  # what was committed before we came
        while True:
            topic, body = self.live.recv_multipart()[:2]
            if topic == b"heartbeat":
                message = event_pb2.Heartbeat.FromString(body)
                newest = message.last_sequence
            else:
                message = event_pb2.EventMessage.FromString(body)
                newest = message.sequence
            self.count_from(message.daemon_id)
            if topic != b"heartbeat" and newest == self.sequence + 1:
                self.sequence = newest
                yield newest, message.event
            elif newest > self.sequence:
                yield from self.replay()  # something was missed: ask for it

    def count_from(self, daemon_id):
        """Another daemon's events are numbered anew: begin with its first."""
        if self.daemon_id and self.daemon_id != daemon_id:
            self.sequence = 0
        self.daemon_id = daemon_id

    def replay(self):
        while True:
            try:
                for response in self.service.request(replay=query_pb2.ReplayRequest(after_sequence=self.sequence)):
                    self.sequence = max(self.sequence, response.replay.forgotten_sequence)  # whend was told to forget
                    for message in response.replay.messages:
                        if message.sequence == self.sequence + 1 and message.daemon_id == self.daemon_id:
                            self.sequence = message.sequence
                            yield message.sequence, message.event
                return
            except TimeoutError as error:
                print(f"follow.py: {error}; trying again", file=sys.stderr)


def utc(us):
    return datetime.datetime.fromtimestamp(us / 1e6, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def line(event):
    state = event_pb2.EventState.Name(event.state).removeprefix("EVENT_STATE_").lower()
    return (f"{state:9} {utc(event.start_us)} -/+ {event.start_err_us / 1e6:.2f} s .. {utc(event.end_us)} -/+ "
            f"{event.end_err_us / 1e6:.2f} s  {event.camera}  {event.description}  ({event.watch}, {event.confidence:.2f})")


def ask(runtime_dir, question, during, zone, deep):
    service = Service(zmq.Context.instance(), f"ipc://{runtime_dir}/query.ipc")
    request = query_pb2.AskRequest(question=question, range=during, time_zone=zone,
                                   mode=query_pb2.ASK_MODE_DEEP if deep else query_pb2.ASK_MODE_INDEX)
    for response in service.request(deadline_s=3600 if deep else ANSWER_S, ask=request):
        if not response.last:  # a deep ask on its way
            for event in response.ask.events:
                print("found:", line(event), file=sys.stderr)
            continue
        for event in response.ask.events:
            print(line(event))
        for coverage in response.ask.coverage:
            print(f"examined: {coverage.camera} {coverage.examined_us / 1e6:.1f} s, waiting {coverage.waiting_us / 1e6:.1f} s, "
                  f"lost {coverage.lost_us / 1e6:.1f} s")
        if not response.ask.watches and not response.ask.former_watches:
            print("nobody looked: no watch asks this")


def load(path):
    try:
        with open(path) as file:
            saved = json.load(file)
            return saved["sequence"], saved["daemon_id"]
    except FileNotFoundError:
        return 0, ""


def save(path, follower):
    """Whole or not at all: a crash in between repeats an event rather than losing one."""
    with open(path + ".tmp", "w") as file:
        json.dump({"sequence": follower.sequence, "daemon_id": follower.daemon_id}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".tmp", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtime-dir", default="/run/whend")
    parser.add_argument("--resume", metavar="FILE", help="keep the last handled sequence number there")
    parser.add_argument("--after", type=int, default=0, help="begin behind this sequence number")
    parser.add_argument("--ask", metavar="QUESTION", help="ask, print the answer and end")
    parser.add_argument("--during", metavar="RANGE", default="", help="\"yesterday evening\", \"last 3 days\", ...")
    parser.add_argument("--zone", default="", help="of the range: Europe/Berlin; UTC without it")
    parser.add_argument("--deep", action="store_true", help="the model looks at what nobody looked at for this")
    parser.add_argument("--until-sequence", type=int, help="end after this event")
    args = parser.parse_args()
    if args.ask:
        return ask(args.runtime_dir, args.ask, args.during, args.zone, args.deep)
    follower = Follower(args.runtime_dir, *(load(args.resume) if args.resume else (args.after, "")))
    if args.until_sequence is not None and follower.sequence >= args.until_sequence:
        return 0
    for sequence, event in follower.events():
        print(sequence, line(event), flush=True)
        if args.resume:
            save(args.resume, follower)
        if args.until_sequence is not None and sequence >= args.until_sequence:
            return 0
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (RuntimeError, TimeoutError) as problem:
        sys.exit(f"follow.py: {problem}")
