"""kill -9 of each of the three processes: restarted, nothing committed is lost or said twice, gaps are known."""
import os
import signal
import unittest

import harness
from harness import RtspServer, World, alive, processes, query_pb2
from test_events import check_history


SECOND = 1000000


def kill(pid):
    assert pid > 0, "it does not run"  # 0 would be this test's own group
    os.kill(pid, signal.SIGKILL)


class Kills(unittest.TestCase):
    def check(self, world, subscribers):
        """The store's history is sound, and what was received live is a part of it, each once."""
        messages, last, daemon_id = world.replay()
        check_history(self, messages, daemon_id)
        stored = {m.sequence: m.SerializeToString(deterministic=True) for m in messages}
        self.assertEqual(len(stored), last)
        seen = [m for subscriber in subscribers for m in subscriber.messages]
        for message in seen:
            self.assertEqual(stored.get(message.sequence), message.SerializeToString(deterministic=True),
                             "published, but not what was committed")
        self.assertEqual(len(seen), len({m.sequence for m in seen}), "published twice")

    def wait_restarted(self, world, subscriber, name, old_pid):
        def again():
            worker = world.worker(name)
            return worker and worker.state == "running" and worker.pid not in (0, old_pid)
        subscriber.wait(again, f"{name} restarted")
        worker = world.worker(name)
        self.assertEqual(worker.restarts, 1)
        self.assertTrue(worker.reason, "the reason of its end is said")
        self.assertFalse(alive(old_pid))

    def test_analyst(self):
        """The window in flight is asked again: all is examined in the end."""
        with World().start() as world:
            subscriber = world.subscribe()
            subscriber.wait(lambda: subscriber.progress.get("gate") and subscriber.progress["gate"].windows >= 1,
                            "a first window")
            pid = world.worker("analyst/0").pid
            kill(pid)
            self.wait_restarted(world, subscriber, "analyst/0", pid)
            world.wait_examined(subscriber)
            coverage = world.coverage("gate")
            self.assertEqual((coverage.lost_us, coverage.waiting_us), (0, 0), coverage)
            self.check(world, [subscriber])

    def test_file_camera(self):
        """A file's worker goes on where the ledger ends."""
        with World().start() as world:
            subscriber = world.subscribe()
            subscriber.wait(lambda: subscriber.progress.get("gate") and subscriber.progress["gate"].windows >= 1,
                            "a first window")
            worker = world.worker("camera/gate")
            if worker.state == "finished":
                self.skipTest("the file was read before it could be killed")
            kill(worker.pid)
            world.wait_examined(subscriber)
            coverage = world.coverage("gate")
            self.assertEqual((coverage.lost_us, coverage.waiting_us), (0, 0), coverage)
            self.check(world, [subscriber])

    def test_daemon(self):
        """Killed in the middle and started again: the history goes on, and its workers have not outlived it."""
        with World(watches={"red-car": "When does a red car drive past?", "lamp": "When is the lamp on?"}).start() as world:
            subscriber = world.subscribe()
            subscriber.wait(lambda: subscriber.messages, "a first event")
            workers = [worker.pid for worker in world.status().workers if worker.pid]
            self.assertTrue(workers)
            kill(world.daemon.pid)
            world.daemon.wait()
            world.start()
            left = [pid for pid in workers if pid in processes()]
            self.assertFalse(left, "workers outlived their daemon")
            second = world.subscribe()
            world.wait_examined(second)
            coverage = world.coverage("gate")
            self.assertEqual((coverage.lost_us, coverage.waiting_us), (0, 0), coverage)
            while subscriber.pump(0):  # what the first connection may have received on its own
                pass
            # Both sockets reconnect to the same address: each must see each message at most once.
            self.check(world, [subscriber])
            self.check(world, [second])

    def stream(self, seconds, windows, then):
        """A live camera that has sent so many seconds, of which `windows` are examined; then(world, subscriber, first_us)."""
        server = RtspServer(os.path.join(harness.CAMERAS, "gate.mp4"))
        try:
            with World(cameras={"gate": {"url": server.url}}).start() as world:
                subscriber = world.subscribe()
                first_us = int(server.wait_line("first-frame-utc-us "))
                subscriber.wait(lambda: "gate" in subscriber.progress and
                                subscriber.progress["gate"].windows >= windows and
                                subscriber.progress["gate"].utc_us >= first_us + seconds * SECOND, f"{seconds} s of video")
                then(world, subscriber, first_us)
                self.assertEqual(world.stop(), 0)
        finally:
            server.stop()

    def unexamined(self, world, start_us, end_us):
        """Seconds of [start, end] that the ledger does not call examined; holes of which it knows nothing are among them."""
        coverage = world.coverage("gate", "red-car")  # none before the first window is closed
        spans = coverage.spans if coverage is not None else []
        known = sum(max(0, min(span.end_us, end_us) - max(span.start_us, start_us)) for span in spans
                    if span.state == query_pb2.SPAN_STATE_EXAMINED)
        return (end_us - start_us - known) / SECOND

    def test_rtsp_camera(self):
        """A stream's worker is killed: reconnected; what it had sent is examined, and the gap is in the ledger."""
        def then(world, subscriber, first_us):
            worker = world.worker("camera/gate")
            seen_us = subscriber.progress["gate"].utc_us
            kill(worker.pid)
            self.wait_restarted(world, subscriber, "camera/gate", worker.pid)
            subscriber.wait(lambda: self.unexamined(world, first_us + SECOND, seen_us) < 0.5, "what came before is examined")
            subscriber.wait(lambda: subscriber.progress["gate"].utc_us > seen_us + 20 * SECOND, "video after the restart")
            # From the first picture to the newest examined one the ledger has no hole of which it says nothing.
            spans = [s for s in world.coverage("gate", "red-car").spans]
            for before, after in zip(spans, spans[1:]):
                self.assertLess(after.start_us - before.end_us, 1.5 * SECOND, "a hole in the ledger")
            for span in spans:
                if span.state == query_pb2.SPAN_STATE_LOST:
                    self.assertTrue(span.reason)
            self.check(world, [subscriber])
        self.stream(10, 0, then)

    def test_rtsp_daemon(self):
        """whend is killed with frames that no window has examined: the recording has them, and they are examined later."""
        def then(world, subscriber, first_us):
            seen_us = subscriber.progress["gate"].utc_us
            self.assertGreater(self.unexamined(world, first_us, seen_us), 5)
            kill(world.daemon.pid)
            world.daemon.wait()
            world.start()
            second = world.subscribe()
            # The worker closes its recording when its whend is gone; a second or two may be missing at the end.
            second.wait(lambda: self.unexamined(world, first_us + SECOND, seen_us - 2 * SECOND) < 0.5,
                        "what the killed whend had not examined is examined from the recording")
            self.check(world, [subscriber])
            self.check(world, [second])
        self.stream(20, 1, then)


if __name__ == "__main__":
    harness.main()
