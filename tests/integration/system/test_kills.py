"""kill -9 of each of the three processes: restarted, nothing committed is lost or said twice, gaps are known."""
import os
import signal
import unittest

import harness
from harness import RtspServer, World, alive, file_camera, processes
from test_events import check_history


def kill(pid):
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

    def test_rtsp_camera(self):
        """A stream's worker is killed: reconnected, and the ledger knows the gap or fills it from the recording."""
        server = RtspServer(os.path.join(harness.CAMERAS, "gate.mp4"))
        try:
            with World(cameras={"gate": {"url": server.url}}).start() as world:
                subscriber = world.subscribe()
                subscriber.wait(lambda: subscriber.progress.get("gate") and subscriber.progress["gate"].frames >= 20,
                                "20 frames")
                worker = world.worker("camera/gate")
                before = subscriber.progress["gate"].frames
                kill(worker.pid)
                self.wait_restarted(world, subscriber, "camera/gate", worker.pid)
                subscriber.wait(lambda: subscriber.progress["gate"].frames >= before + 20, "frames after the restart")
                self.check(world, [subscriber])
                self.assertEqual(world.stop(), 0)
        finally:
            server.stop()


if __name__ == "__main__":
    harness.main()
