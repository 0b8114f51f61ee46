"""A subscriber of its own gets every event of a file camera and can prove that it missed nothing."""
import json
import os
import sqlite3
import unittest

import harness
from harness import World, event_pb2, file_camera

OPEN, FINAL, RETRACTED = (event_pb2.EVENT_STATE_OPEN, event_pb2.EVENT_STATE_FINAL, event_pb2.EVENT_STATE_RETRACTED)


def check_history(test, messages, daemon_id):
    """The invariants that any complete history of one daemon obeys."""
    test.assertEqual([m.sequence for m in messages], list(range(1, len(messages) + 1)))
    state = {}
    committed = 0
    for message in messages:
        event = message.event
        test.assertEqual(message.daemon_id, daemon_id)
        test.assertGreaterEqual(message.committed_us, committed)
        committed = message.committed_us
        revision, last = state.get(event.id, (0, None))
        test.assertEqual(event.revision, revision + 1, event)
        test.assertNotEqual(last, RETRACTED, f"changed after its retraction: {event}")
        if last == FINAL:
            test.assertEqual(event.state, RETRACTED, f"a final event was changed: {event}")
        test.assertLessEqual(event.start_us, event.end_us)
        test.assertGreater(event.start_err_us, 0)
        test.assertGreater(event.end_err_us, 0)
        test.assertTrue(0 <= event.confidence <= 1, event)
        state[event.id] = (event.revision, event.state)
    return state


class Events(unittest.TestCase):
    WATCHES = {"red-car": "When does a red car drive past?", "person": "When does a person walk by?",
               "yellow-car": "When does a yellow car drive past?"}

    def test_complete(self):
        """Live messages and a replay are the same history; the answers overlap the truth."""
        with World(watches=self.WATCHES).start() as world:
            subscriber = world.subscribe()
            world.wait_examined(subscriber)
            messages, last, daemon_id = world.replay()
            self.assertEqual(last, len(messages))
            check_history(self, messages, daemon_id)
            # What was published before this subscriber had connected comes by replay; from the first
            # live one on there is no gap, and both say the same.
            subscriber.wait(lambda: subscriber.heartbeat and subscriber.heartbeat.last_sequence >= last, "heartbeat")
            live = subscriber.messages
            self.assertTrue(live, "no event was received live")
            self.assertEqual([m.sequence for m in live], list(range(live[0].sequence, last + 1)))
            self.assertEqual([m.SerializeToString(deterministic=True) for m in messages[live[0].sequence - 1:]],
                             [m.SerializeToString(deterministic=True) for m in live])
            self.assertEqual([m.sequence for m in world.replay(after=last - 1)[0]], [last])

            self.check_truth(world)
            coverage = world.coverage("gate", "red-car")
            self.assertEqual(coverage.lost_us + coverage.waiting_us, 0)
            self.assertAlmostEqual(coverage.examined_us / 1e6, 60, delta=1.0)
            self.assertEqual(world.stop(), 0)

    def check_truth(self, world):
        with open(os.path.join(harness.CAMERAS, "gate.truth.json")) as file:
            truth = json.load(file)
        for watch, description in (("red-car", "a red car drives past"), ("person", "a person walks by")):
            intervals = [((e.start_us - harness.START_US) / 1e6, (e.end_us - harness.START_US) / 1e6)
                         for e in world.events() if e.watch == watch]
            for entry in truth:
                if entry["description"] == description:
                    self.assertTrue(any(s < entry["end_seconds"] and e > entry["start_seconds"] for s, e in intervals),
                                    f"{watch} at {entry['start_seconds']} s is missed: {intervals}")
        self.assertFalse([e for e in world.events() if e.watch == "yellow-car"], "there is no yellow car")

    def test_gate(self):
        """What did not change has no visual tokens, the answers are right all the same; without the gate all of them."""
        for gate in ("off", "medium"):
            with World(watches=self.WATCHES, cameras={"gate": file_camera("gate.mp4", fps="4", gate=gate)},
                       options={"http": harness.free_address()}).start() as world:
                world.wait_examined(world.subscribe())
                self.check_truth(world)
                metrics = world.metrics()
                tokens, kept = (metrics[f"whend_visual_tokens{name}_total"] for name in ("", "_kept"))
                self.assertGreater(tokens, 0)
                if gate == "off":
                    self.assertEqual(kept, tokens)
                else:
                    self.assertLess(kept, 0.7 * tokens)
                    self.assertGreater(kept, 0.1 * tokens)
                self.assertEqual(world.stop(), 0)

    def test_restart(self):
        """A clean stop and a new start: same daemon id, the sequence goes on, nothing is examined twice."""
        with World().start() as world:
            subscriber = world.subscribe()
            world.wait_examined(subscriber)
            before, last, daemon_id = world.replay()
            self.assertEqual(world.stop(), 0)
            world.start()
            subscriber = world.subscribe()
            subscriber.wait(lambda: subscriber.heartbeat is not None, "heartbeat")
            self.assertEqual(subscriber.heartbeat.last_sequence, last)
            after, _, again = world.replay()
            self.assertEqual(again, daemon_id)
            self.assertEqual([m.SerializeToString() for m in after[:last]], [m.SerializeToString() for m in before])
            self.assertEqual(world.stop(), 0)
            # The store itself is sound, by SQLite's own check.
            for name in os.listdir(world.state):
                if name.endswith((".db", ".sqlite")):
                    with sqlite3.connect(os.path.join(world.state, name)) as database:
                        self.assertEqual(database.execute("PRAGMA integrity_check").fetchone(), ("ok",))

    def test_ask(self):
        """whenctl ask: found with error bounds; looked for and not there; nobody looked."""
        with World(watches=self.WATCHES).start() as world:
            world.wait_examined(world.subscribe())
            found = world.ctl("ask", "when did a red car drive past?", "--json")
            self.assertEqual(found.returncode, 0, found.stderr)
            answer = json.loads(found.stdout)
            self.assertEqual(len(answer["events"]), 3, answer)
            none = json.loads(world.ctl("ask", "when did a yellow car drive past?", "--json").stdout)
            self.assertEqual(none["events"], [])
            self.assertTrue(none["watches"], "the watch that looked for it is named")
            nobody = json.loads(world.ctl("ask", "when did a submarine surface?", "--json").stdout)
            self.assertEqual((nobody["events"], nobody["watches"]), ([], []))


if __name__ == "__main__":
    harness.main()
