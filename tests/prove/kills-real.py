"""Many kills at random moments: nothing committed is lost or said twice, and all that could be examined is.

    ./run prove kills-real [--short] [--kills N] [--seed N]

A file camera and, unless --short, a live RTSP camera run while whend, whend-camera and whend-analyst are killed with SIGKILL in
turn. A subscriber of its own keeps what it hears across all of it and fills its gaps by replay.
"""
import argparse
import os
import random
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration", "system"))
import harness  # noqa: E402
from harness import RtspServer, World, event_pb2, file_camera, processes  # noqa: E402

FINAL, RETRACTED = event_pb2.EVENT_STATE_FINAL, event_pb2.EVENT_STATE_RETRACTED


def goal(name, value, bound, met):
    print(f"goal {name} {value} {bound} {'met' if met else 'short'}", flush=True)
    return met


class Log:
    """What a careful subscriber keeps: each sequence number once."""

    def __init__(self):
        self.by_sequence = {}
        self.heard = set()
        self.twice = 0
        self.differing = 0

    def live(self, messages):
        for message in messages:
            text = message.SerializeToString(deterministic=True)
            known = self.by_sequence.get(message.sequence)
            self.twice += message.sequence in self.heard
            self.heard.add(message.sequence)
            self.differing += known is not None and known != text
            self.by_sequence[message.sequence] = text

    def fill(self, messages):
        for message in messages:
            text = message.SerializeToString(deterministic=True)
            known = self.by_sequence.setdefault(message.sequence, text)
            self.differing += known != text


def kill_worker(world, name):
    worker = world.worker(name)
    if worker and worker.pid and worker.state == "running":
        os.kill(worker.pid, signal.SIGKILL)
        return True
    return False


def history_faults(messages):
    """Broken invariants of a complete history."""
    faults = sum(m.sequence != n + 1 for n, m in enumerate(messages))
    state = {}
    for message in messages:
        revision, last = state.get(message.event.id, (0, None))
        faults += message.event.revision != revision + 1
        faults += last == RETRACTED or (last == FINAL and message.event.state != RETRACTED)
        state[message.event.id] = (message.event.revision, message.event.state)
    return faults


def main():
    parser = argparse.ArgumentParser(prog="./run prove kills-real")
    parser.add_argument("--short", action="store_true", help="six kills, file camera only")
    parser.add_argument("--kills", type=int)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    kills = options.kills or (6 if options.short else 60)
    rng = random.Random(options.seed)
    print(f"{kills} kills, seed {options.seed}")
    video = os.path.join(harness.CAMERAS, "yard.mp4")
    cameras = {"yard": file_camera(video)}
    server = None
    if not options.short:
        server = RtspServer(os.path.join(harness.CAMERAS, "gate.mp4"))
        cameras["gate"] = {"url": server.url}
    watches = {"red-car": "When does a red car drive past?", "person": "When does a person walk by?",
               "lamp": "When is the lamp on?", "yellow-car": "When does a yellow car drive past?"}
    log, done, outlived = Log(), {"daemon": 0, "camera": 0, "analyst": 0}, 0
    with World(cameras=cameras, watches=watches).start() as world:
        subscriber = world.subscribe()
        for number in range(kills):
            # A random number of messages from now, so that the moment falls anywhere in the work.
            for _ in range(rng.randrange(1, 12)):
                subscriber.pump(500)
            target = ("daemon", "analyst", "camera")[number % 3]
            if target == "daemon":
                workers = [worker.pid for worker in world.status().workers if worker.pid]
                world.daemon.kill()
                world.daemon.wait()
                log.live(subscriber.messages)
                subscriber.close()
                world.subscribers.remove(subscriber)
                world.start()
                outlived += sum(pid in processes() for pid in workers)
                subscriber = world.subscribe()
                log.fill(world.replay(after=max(log.by_sequence, default=0))[0])
                done[target] += 1
            elif target == "analyst":
                done[target] += kill_worker(world, "analyst/0")
            else:
                done[target] += kill_worker(world, rng.choice([f"camera/{name}" for name in cameras]))
        world.wait_examined(subscriber, "yard", timeout_s=600)
        coverage = world.coverage("yard", "red-car")
        last = world.replay()[1]
        subscriber.wait(lambda: subscriber.heartbeat and subscriber.heartbeat.last_sequence >= last, "heartbeat")
        log.live(subscriber.messages)
        messages, last, _ = world.replay()
        log.fill(messages)
        lost = len(set(log.by_sequence) - {m.sequence for m in messages})
        code = world.stop()
    if server:
        server.stop()
    print(f"killed: {done}; {last} revisions committed; yard examined {coverage.examined_us / 1e6:.1f} s, "
          f"waiting {coverage.waiting_us / 1e6:.1f} s, lost {coverage.lost_us / 1e6:.1f} s; whend's exit code {code}")
    results = [
        goal("kills_real.committed_events_lost", lost, 0, lost == 0),
        goal("kills_real.published_twice", log.twice, 0, log.twice == 0),
        goal("kills_real.published_uncommitted", log.differing, 0, log.differing == 0),
        goal("kills_real.broken_invariants", history_faults(messages), 0, history_faults(messages) == 0),
        goal("kills_real.workers_that_outlived", outlived, 0, outlived == 0),
        goal("kills_real.file_seconds_unexamined", f"{max(180 - coverage.examined_us / 1e6, 0):.1f}", 1,
             coverage.examined_us / 1e6 >= 179 and coverage.waiting_us == 0),
    ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
