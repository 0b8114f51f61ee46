"""Deep questions, watches at run time, and what the ledger and the answers say of them."""
import os
import signal
import sqlite3
import time
import unittest

import test_daemon
from world import (EXAMINED, FINAL, LOST, OPEN, RETRACTED, S, UTC, WAITING, World, event_pb2, query_pb2, zmq)

CAR, DOG = "When does a car drive past?", "When does a dog run?"
utc = test_daemon.utc


class Asking:
    """A request whose responses come one by one."""

    def __init__(self, world, request_id=7, deadline_ms=0, high_water=1000, **body):
        self.world, self.id, self.responses = world, request_id, []
        self.socket = world.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVHWM, high_water)
        self.socket.connect(world.query_endpoint())
        self.send(request_id=request_id, deadline_ms=deadline_ms, **body)

    def send(self, **body):
        self.socket.send(query_pb2.Request(version=1, **body).SerializeToString())

    def read(self):
        while self.socket.poll(0):
            response = query_pb2.Response.FromString(self.socket.recv())
            if response.request_id == self.id:
                self.responses.append(response)
        return self.responses

    def finished(self):
        return bool(self.read()) and self.responses[-1].last

    def answer(self):
        self.world.wait(self.finished, "last response")
        assert not self.responses[-1].HasField("error"), self.responses[-1].error.text
        return self.responses[-1].ask

    def close(self):
        self.socket.close()

    __del__ = close


class TestMemory(test_daemon.Helpers, unittest.TestCase):
    def deep(self, question=DOG, **more):
        more.setdefault("deadline_ms", 0)
        deadline_ms = more.pop("deadline_ms")
        return Asking(self.world, deadline_ms=deadline_ms,
                      ask=query_pb2.AskRequest(question=question, mode=query_pb2.ASK_MODE_DEEP, **more))

    def examined_file(self, seconds=40):
        """A file that was asked about cars alone."""
        camera = self.start_file()
        camera.order("health", state="running", duration_s=float(seconds), utc_source=2)
        camera.frames(0, seconds)
        camera.order("end", duration_s=float(seconds))
        self.wait_finished()

    def serve_archive(self, name, incarnation=1):
        """The archive worker's span is sent to it."""
        archive = self.world.wait_camera(name, incarnation)
        start, end = archive.last("setup")["span"]
        archive.frames((start - UTC) / S, (end - UTC) / S, session=100 + incarnation)
        archive.order("end")
        return archive

    def put(self, name, replace=False, fields=None, **settings):
        names = fields if fields is not None else list(settings)
        return self.world.ask(watch_put=query_pb2.WatchPutRequest(
            watch=query_pb2.Watch(name=name, **settings), replace=replace, fields=names))[-1]

    # --- deep ---

    def test_deep_file(self):
        """Nobody asked about dogs: the model looks again, the answer streams, and is kept."""
        w = self.world
        w.truth[CAR], w.truth[DOG] = [utc(4, 8)], [utc(10, 15), utc(30, 33)]
        self.examined_file()
        jobs = len(w.jobs)
        before = w.ask(ask=query_pb2.AskRequest(question=DOG))[0].ask
        self.assertEqual((len(before.events), len(before.watches), len(before.coverage)), (0, 0, 0))
        asking = self.deep()
        self.serve_archive("archive/yard")
        answer = asking.answer()
        self.check_truth({e.id: e for e in answer.events}, w.truth[DOG])
        self.assertEqual([(c.camera, c.examined_us, c.waiting_us, c.lost_us) for c in answer.coverage],
                         [("yard", 40 * S, 0, 0)])
        self.assertEqual(answer.progress.stopped, "")
        # Nothing but the question was asked of what was read again.
        self.assertEqual({q for j in w.jobs[jobs:] for q in j["questions"].values()}, {DOG})
        # On the way came the same events, and how far it was.
        on_the_way = [r.ask for r in asking.responses[:-1]]
        self.assertEqual({e.id for a in on_the_way for e in a.events}, {e.id for e in answer.events})
        self.assertTrue(any(a.HasField("progress") and a.progress.waiting_us for a in on_the_way))
        # Kept: the index answers now, and says that nobody asks it any more.
        jobs = len(w.jobs)
        again = w.ask(ask=query_pb2.AskRequest(question="when did a dog run?"))[0].ask
        self.assertEqual(list(again.events), list(answer.events))
        self.assertEqual((len(again.watches), len(again.former_watches)), (0, 1))
        # And asked deep again there is nothing left to look at.
        self.assertEqual(list(self.deep().answer().events), list(answer.events))
        self.assertEqual(len(w.jobs), jobs)
        # Everyone else heard of it, too.
        self.check_sequence(self.heard())

    def test_deep_part(self):
        """Only what was asked for is looked at, and only what nobody looked at before."""
        w = self.world
        w.truth[DOG] = [utc(10, 15), utc(70, 73)]
        self.examined_file(100)
        asking = self.deep(since_us=utc(60)[0], until_us=utc(80)[0])
        self.serve_archive("archive/yard")
        answer = asking.answer()
        self.check_truth({e.id: e for e in answer.events}, w.truth[DOG][1:])
        self.assertEqual(answer.coverage[0].examined_us, 20 * S)
        asking = self.deep(since_us=utc(50)[0], until_us=utc(90)[0])
        spans = []
        for incarnation in (2, 3):
            if asking.finished():
                break
            archive = self.serve_archive("archive/yard", incarnation)
            spans.append([(t - UTC) / S for t in archive.last("setup")["span"]])
            w.wait(lambda: asking.finished() or w.incarnations("archive/yard") > incarnation, "the next")
        # The examined part lies between: one job over both sides costs less than two.
        self.assertEqual(spans, [[50, 90]])
        self.assertEqual([(s[0], s[1]) for s in w.ledger("yard", watch=asking.answer().former_watches[0])], [(50, 90)])

    def test_deep_cancel(self):
        """What was not looked at when the client gives up, goes away or runs out of time is unsaid."""
        w = self.world
        self.examined_file()
        asking = self.deep()
        archive = w.wait_camera("archive/yard")
        asking.send(request_id=8, cancel=query_pb2.CancelRequest(request_id=7))
        self.assertEqual(asking.answer().progress.stopped, "cancelled")
        self.assertEqual(asking.answer().coverage[0].waiting_us, 40 * S)
        w.wait(lambda: archive.count("stop"), "the worker is stopped")
        unsaid = w.ask(ask=query_pb2.AskRequest(question=DOG))[0].ask
        self.assertEqual(len(unsaid.coverage), 0)
        other = w.ask(cancel=query_pb2.CancelRequest(request_id=7))[0]
        self.assertEqual(other.error.exit_code, 65)
        late = self.deep(deadline_ms=5000)
        w.wait_camera("archive/yard", 2)
        self.assertEqual(late.answer().progress.stopped, "deadline")
        gone = self.deep()
        archive = w.wait_camera("archive/yard", 3)
        gone.close()
        w.wait(lambda: archive.count("stop"), "the worker is stopped")
        unsaid = w.ask(ask=query_pb2.AskRequest(question=DOG))[0].ask
        self.assertEqual(len(unsaid.coverage), 0)

    def test_deep_restart(self):
        """Of a question that was being looked into when whend was killed only what was found is left."""
        w = self.world
        w.truth[DOG] = [utc(10, 15)]
        self.examined_file()
        asking = self.deep()
        archive = w.wait_camera("archive/yard")
        archive.frames(0, 30, session=9)
        w.wait(lambda: any(m.event.watch.startswith("ask-") for m in w.messages), "a dog")
        w.kill()
        asking.close()
        w.start()
        answer = w.ask(ask=query_pb2.AskRequest(question=DOG))[0].ask
        self.assertEqual((len(answer.watches), len(answer.former_watches)), (0, 1))
        self.assertTrue(answer.coverage)
        self.assertEqual(answer.coverage[0].waiting_us, 0)
        self.assertGreater(answer.coverage[0].examined_us, 0)

    def test_deep_before_backlog(self):
        """A question takes the place of an older span, which goes on waiting and is examined afterwards."""
        w = self.world
        camera = self.start_live()
        camera.frames(0, 20)
        camera.frames(30, 48, session=2)
        path = os.path.join(w.dir, "0.mp4")
        open(path, "w").close()
        camera.order("recording", path=path, start_us=utc(0)[0], end_us=utc(62)[0], bytes=1, utc_source=1)
        backlog = w.wait_camera("archive/gate")
        self.assertEqual(backlog.last("setup")["span"], list(utc(20, 30)))
        w.truth[DOG] = [utc(40, 44)]
        asking = self.deep(until_us=utc(50)[0])
        w.wait(lambda: backlog.count("stop"), "the older span gives way")
        question = self.serve_archive("archive/gate", 2)
        self.assertEqual(question.last("setup")["span"], list(utc(0, 50)))
        self.check_truth({e.id: e for e in asking.answer().events}, w.truth[DOG])
        self.assertEqual([s[:2] for s in w.ledger("gate", WAITING)], [(20, 30)])
        self.serve_archive("archive/gate", 3)
        w.wait(lambda: not w.ledger("gate", WAITING), "the older span")

    def test_silent_client(self):
        """One that asks, deep and not, and never reads holds no memory and nobody back; then it is given up."""
        w = self.world
        w.truth[DOG] = [utc(10, 15)]
        self.examined_file()
        w.stop()
        db = sqlite3.connect(f"{w.dir}/state/index.sqlite")
        with db:  # 1000 more dogs, so that an answer is large
            last = db.execute("SELECT last_sequence FROM daemon").fetchone()[0]
            for n in range(last + 1, last + 1001):
                row = (n, f"x-{n}", 1, FINAL, "yard", "dog", "a dog runs " + "to and fro " * 30, UTC + 3600 * n * S,
                       UTC + 3600 * n * S + S, 1, 1, 0.9, UTC)
                db.execute("INSERT INTO revisions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
                db.execute("INSERT INTO events (sequence, id, revision, state, camera, watch, description, start_us, end_us,"
                           " start_err_us, end_err_us, confidence, committed_us, number, key)"
                           " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, n, row[7] * 512))
            db.execute("UPDATE daemon SET last_sequence = ?", (last + 1000,))
        db.close()
        w.start()

        def memory():
            with open(f"/proc/{w.process.pid}/status") as status:
                return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) << 10

        w.ask(ask=query_pb2.AskRequest(question=DOG))
        before = memory()
        silent = Asking(w, ask=query_pb2.AskRequest(question=DOG, mode=query_pb2.ASK_MODE_DEEP), high_water=1)
        self.assertFalse(silent.socket.poll(0))
        for n in range(400):  # 150 MB of answers
            silent.send(request_id=100 + n, ask=query_pb2.AskRequest(question=DOG))
            if n % 20 == 0:
                silent.send(request_id=1000 + n, replay=query_pb2.ReplayRequest())
        other = self.deep(question="When does a dog sleep?")
        self.serve_archive("archive/yard")
        self.serve_archive("archive/yard", 2)
        self.assertEqual(other.answer().coverage[0].examined_us, 40 * S)
        for _ in range(20):
            self.assertEqual(len(w.ask(ask=query_pb2.AskRequest(question=DOG))[0].ask.events), 1000)
            self.assertEqual([m.sequence for m in w.replay(last)[0]][:1000], list(range(last + 1, last + 1001)))
        self.assertLess(memory() - before, 32 << 20)
        w.wait(lambda: "did not take its answers" in w.logged(), "it is given up")
        self.assertEqual(len(w.ask(ask=query_pb2.AskRequest(question=DOG))[0].ask.former_watches), 1)
        # It reads after all: what was kept for it until then, and each new answer.
        silent.send(request_id=7777, status=query_pb2.StatusRequest())
        silent.id = 7777
        w.wait(silent.finished, "its next answer")

    def test_nightly(self):
        """What live examination missed waits for its hours, gives way to a watch that wants older video, and ends with them."""
        w = self.world
        now = time.gmtime()
        day = [f"{(now.tm_hour + h) % 24:02}:{now.tm_min:02}" for h in (8, 16, 20)]
        w.options["nightly"] = f"{{hours: '{day[1]}-{day[2]}'}}"  # not now
        camera = self.start_live()
        camera.frames(0, 20)
        camera.frames(30, 48, session=2)
        path = os.path.join(w.dir, "0.mp4")
        open(path, "w").close()
        camera.order("recording", path=path, start_us=utc(0)[0], end_us=utc(50)[0], bytes=1, utc_source=1)
        w.wait(lambda: w.ledger("gate", WAITING), "a hole")
        self.assertEqual(w.ledger("gate", WAITING), [(20, 30, WAITING, "the camera was dark")])
        self.put("dog", question=DOG, since="2026-01-05T06:30:32Z")  # older video for a watch has no hours
        archive = self.serve_archive("archive/gate")
        self.assertEqual(archive.last("setup")["span"], list(utc(32, 50)))
        w.wait(lambda: not w.ledger("gate", WAITING, watch="dog"), "the dog")
        w.wait(lambda: w.worker_status("archive/gate") is None, "that job is over")
        for _ in range(3):  # it looks for work at once, and finds none
            w.heartbeat = None
            w.wait(lambda: w.heartbeat, "heartbeat")
        self.assertEqual([s[:2] for s in w.ledger("gate", WAITING)], [(20, 30)])
        self.assertEqual(w.incarnations("archive/gate"), 1)
        w.options["nightly"] = f"{{hours: '{day[2]}-{day[0]}'}}"  # now
        w.write_config()
        w.process.send_signal(signal.SIGHUP)
        night = w.wait_camera("archive/gate", 2)
        self.assertEqual(night.last("setup")["span"], list(utc(20, 30)))
        # A watch that was away for a while, which is in a recording that is closed while nightly work goes on.
        cat = {"question": "When does a cat sleep?"}
        self.put("cat", **cat)
        camera.frames(48, 70, session=2)
        w.wait(lambda: w.ledger("gate", watch="cat"), "a cat")
        w.ask(watch_remove=query_pb2.WatchRemoveRequest(name="cat"))
        camera.frames(70, 90, session=2)
        w.wait(lambda: w.ledger("gate", EXAMINED)[-1][1] > 89, "no cat")
        self.put("cat", **cat)
        camera.frames(90, 110, session=2)
        w.wait(lambda: w.ledger("gate", WAITING, watch="cat"), "a hole of the cat's")
        w.wait(lambda: w.worker("archive/gate").count("setup") and not w.worker("archive/gate").count("stop"), "nightly work")
        night = w.worker("archive/gate")
        self.assertEqual(night.last("setup")["span"], list(utc(20, 30)))
        n = w.incarnations("archive/gate")
        path = os.path.join(w.dir, "1.mp4")
        open(path, "w").close()
        camera.order("recording", path=path, start_us=utc(50)[0], end_us=utc(112)[0], bytes=1, utc_source=1)
        w.wait(lambda: night.count("stop"), "nightly work gives way")
        self.serve_archive("archive/gate", n + 1)
        w.wait(lambda: not w.ledger("gate", WAITING, watch="cat"), "the cat's hole")
        night = w.wait_camera("archive/gate", n + 2)
        self.assertEqual(night.last("setup")["span"], list(utc(20, 30)))
        w.options["nightly"] = f"{{hours: '{day[1]}-{day[2]}'}}"
        w.write_config()
        w.process.send_signal(signal.SIGHUP)
        w.wait(lambda: night.count("stop"), "its hours are over")
        self.assertEqual([s[:2] for s in w.ledger("gate", WAITING)], [(20, 30)])

    def test_deep_refused(self):
        w = self.world
        self.examined_file()
        askings = [Asking(w, ask=query_pb2.AskRequest(question=f"when does dog {i} run?", mode=1)) for i in range(16)]
        w.wait(lambda: all(a.read() for a in askings), "progress")
        refused = Asking(w, ask=query_pb2.AskRequest(question="when does it rain?", mode=1))
        w.wait(refused.finished, "refused")
        self.assertEqual(refused.responses[-1].error.exit_code, 75)
        for asking in askings:
            asking.close()
        # Of one connection four, and room for others.
        w.wait(lambda: w.logged().count("its client is gone") == 16, "their questions end")
        greedy = Asking(w, request_id=100, ask=query_pb2.AskRequest(question="when does dog 0 run?", mode=1))
        for n in range(1, 5):
            greedy.send(request_id=100 + n, ask=query_pb2.AskRequest(question=f"when does dog {n} run?", mode=1))
        greedy.id = 104
        w.wait(greedy.finished, "the fifth is refused")
        self.assertEqual(greedy.responses[-1].error.exit_code, 75)
        other = self.deep()
        w.wait(other.read, "somebody else's is looked into")
        self.assertFalse(other.responses[0].HasField("error"))

    def test_auto(self):
        w = self.world
        w.truth[CAR], w.truth[DOG] = [utc(4, 8)], [utc(10, 15)]
        self.examined_file()
        car = Asking(w, ask=query_pb2.AskRequest(question=CAR, mode=query_pb2.ASK_MODE_AUTO)).answer()
        self.assertEqual((len(car.events), w.incarnations("archive/yard")), (1, 0))
        dog = Asking(w, ask=query_pb2.AskRequest(question=DOG, mode=query_pb2.ASK_MODE_AUTO))
        self.serve_archive("archive/yard")
        self.assertEqual(len(dog.answer().events), 1)

    def test_ranges(self):
        w = self.world
        w.truth[CAR] = [utc(4, 8)]
        self.examined_file()
        found = w.ask(ask=query_pb2.AskRequest(question=CAR, range="2026-01-05 between 7 and 8",
                                               time_zone="CET-1CEST,M3.5.0,M10.5.0/3"))[0].ask
        self.assertEqual((len(found.events), found.since_us, found.until_us), (1, UTC - 1800 * S, UTC + 1800 * S))
        other = w.ask(ask=query_pb2.AskRequest(question=CAR, range="2026-01-05 between 7 and 8"))[0].ask
        self.assertEqual(len(other.events), 0)
        events = w.ask(events=query_pb2.EventsRequest(range="2026-01-05"))[0].events
        self.assertEqual(len(events.events), 1)
        coverage = w.ask(coverage=query_pb2.CoverageRequest(range="2026-01-04"))[0].coverage
        self.assertEqual((len(coverage.cameras), coverage.until_us), (0, (UTC // (86400 * S)) * 86400 * S))
        for bad in (dict(range="when pigs fly"), dict(range="today", time_zone="Mars/Olympus"),
                    dict(range="today", since_us=1)):
            error = w.ask(ask=query_pb2.AskRequest(question=CAR, **bad))[0].error
            self.assertEqual(error.exit_code, 65)

    def test_over_the_edges(self):
        """An event that goes past both edges of what is examined afterwards is one event."""
        w = self.world
        w.truth[CAR] = [utc(5, 40), utc(43, 45)]
        camera = self.start_live()
        camera.frames(0, 20)
        camera.frames(30, 60, session=2)
        w.wait(lambda: w.ledger("gate", WAITING), "a hole")
        w.wait(lambda: sum(e.state == FINAL for e in w.events().values()) == 3, "two halves and another one")
        path = os.path.join(w.dir, "0.mp4")
        open(path, "w").close()
        camera.order("recording", path=path, start_us=utc(0)[0], end_us=utc(62)[0], bytes=1, utc_source=1)
        self.serve_archive("archive/gate")
        w.wait(lambda: not w.ledger("gate", WAITING), "the hole")
        w.wait(lambda: sum(e.state == FINAL for e in w.events().values()) == 2, "one event")
        self.check_truth(self.check_sequence(self.heard()), w.truth[CAR])

    def test_hanging_analyst(self):
        """One that says nothing any more is killed; what it hung on twice is set aside, the rest goes on."""
        w = self.world
        w.model["timeout"] = "2s"
        w.auto = False
        camera = self.start_file()
        camera.frames(0, 30)
        camera.order("end", duration_s=30.0)
        for n in (1, 2):
            w.wait(lambda: len(w.jobs) == 2 * n, "jobs")
            w.wait(lambda: w.incarnations("analyst/0") == n + 1 and w.worker("analyst/0").count("setup"), "analyst")
            w.auto = n == 2
            w.worker("analyst/0").order("loaded")
        self.wait_finished()
        self.assertEqual([(s, e, state) for s, e, state, _ in w.ledger("yard")], [(0, 12, LOST), (12, 30, EXAMINED)])
        self.assertIn("it hung", w.ledger("yard", LOST)[0][3])

    # --- watches ---

    def test_watch_at_run_time(self):
        """Added, kept over a restart, changed, removed; a configured one is not to be touched."""
        w = self.world
        w.truth[DOG] = [utc(4, 8)]
        camera = self.start_live(record=False)
        self.assertIn("added", self.put("dog", question=DOG).done.text)
        self.assertEqual(sorted(w.status().watches), ["car", "dog"])
        camera.frames(0, 18)
        w.wait(lambda: w.ledger("gate", watch="dog"), "asked")
        for code, reply in ((65, self.put("dog", question=DOG)), (78, self.put("car", question=DOG)),
                            (78, self.put("car", replace=True, question=DOG)), (65, self.put("ask-x", question=DOG)),
                            (65, self.put("cat")), (66, self.put("cat", question="a cat?", cameras=["garden"])),
                            (66, self.put("cat", replace=True, question="a cat?")),
                            (65, self.put("cat", question="a cat?", fields=["question", "colour"])),
                            (65, self.put("cat", question="a cat?", hours="8-30")),
                            (65, self.put("cat", question="a cat?", min_confidence=2)),
                            (65, self.put("c" * 70, question="a cat?")),
                            (66, w.ask(watch_remove=query_pb2.WatchRemoveRequest(name="cat"))[0]),
                            (78, w.ask(watch_remove=query_pb2.WatchRemoveRequest(name="car"))[0])):
            self.assertEqual(reply.error.exit_code, code, reply)
        w.kill()
        w.start()
        self.assertEqual(sorted(w.status().watches), ["car", "dog"])
        watches = {x.name: x for x in w.ask(watches=query_pb2.WatchesRequest())[0].watches.watches}
        self.assertEqual((watches["car"].configured, watches["dog"].configured), (True, False))
        self.assertEqual((watches["dog"].question, watches["dog"].join_gap_us), (DOG, S))
        self.put("dog", replace=True, cameras=["gate"], days="mon-fri", hours="8-18", cool_down_us=5 * S)
        dog = [x for x in w.ask(watches=query_pb2.WatchesRequest())[0].watches.watches if x.name == "dog"][0]
        self.assertEqual((dog.question, list(dog.cameras), dog.days, dog.hours, dog.cool_down_us),
                         (DOG, ["gate"], "mon-fri", "8-18", 5 * S))
        # One that comes to stand in whend.yaml counts there.
        w.watches["dog"] = "When does a dog sleep?"
        w.write_config()
        w.process.send_signal(signal.SIGHUP)
        w.wait_notified("READY=1")
        self.assertEqual(sorted(w.status().watches), ["car", "dog"])
        del w.watches["dog"]
        w.write_config()
        self.assertEqual(w.ask(reload=query_pb2.ReloadRequest())[0].done.text, "whend.yaml was read again")
        self.assertIn("removed", w.ask(watch_remove=query_pb2.WatchRemoveRequest(name="dog"))[0].done.text)
        self.assertEqual(list(w.status().watches), ["car"])
        # What it found stays, and nobody claims that it is asked still.
        answer = w.ask(ask=query_pb2.AskRequest(question=DOG))[0].ask
        self.assertEqual((len(answer.events), len(answer.watches)), (1, 0))
        self.assertEqual(set(answer.former_watches), {"dog", "dog@1"})  # it had another question in between
        w.kill()
        w.start()
        self.assertEqual(list(w.status().watches), ["car"])

    def test_changed_question(self):
        """What was examined for one question is not examined for the next one under the same name."""
        w = self.world
        w.truth[CAR] = [utc(4, 8)]
        camera = self.start_live(record=False)
        camera.frames(0, 17.5)
        w.wait(lambda: any(m.event.state == FINAL for m in w.messages), "a car")
        w.watches["car"] = DOG
        w.write_config()
        w.process.send_signal(signal.SIGHUP)
        w.wait_notified("READY=1")
        dog = w.ask(ask=query_pb2.AskRequest(question=DOG))[0].ask
        self.assertEqual((list(dog.watches), len(dog.events), len(dog.coverage)), (["car"], 0, 0))
        car = w.ask(ask=query_pb2.AskRequest(question=CAR))[0].ask
        self.assertEqual((list(car.watches), list(car.former_watches), len(car.events)), ([], ["car@1"], 1))
        self.assertGreater(car.coverage[0].examined_us, 10 * S)
        # And back again.
        w.watches["car"] = CAR
        w.write_config()
        w.process.send_signal(signal.SIGHUP)
        w.wait_notified("READY=1")
        car = w.ask(ask=query_pb2.AskRequest(question=CAR))[0].ask
        self.assertEqual((list(car.watches), list(car.former_watches), len(car.events)), (["car"], ["car@1"], 1))

    def test_since(self):
        """A new watch is asked of older recordings too, as far back as it wants, and of nothing else."""
        w = self.world
        w.truth[CAR], w.truth[DOG] = [utc(4, 8)], [utc(6, 9), utc(32, 36)]
        camera = self.start_live()
        camera.frames(0, 48)
        w.wait(lambda: w.ledger("gate"), "ledger")
        for n in range(2):
            path = os.path.join(w.dir, f"{n}.mp4")
            open(path, "w").close()
            camera.order("recording", path=path, start_us=utc(24 * n)[0], end_us=utc(24 * n + 24)[0], bytes=1, utc_source=1)
        w.wait(lambda: w.ledger("gate")[0][:3] == (0, 48, EXAMINED), "all is examined")
        jobs = len(w.jobs)
        self.put("dog", question=DOG, since="2026-01-05T06:30:24Z")
        archive = self.serve_archive("archive/gate")
        self.assertEqual(archive.last("setup")["span"], list(utc(24, 48)))
        w.wait(lambda: w.ledger("gate", watch="dog") == [(24, 48, EXAMINED, "")], "the dog's ledger")
        w.wait(lambda: any(m.event.watch == "dog" and m.event.state == FINAL for m in w.messages), "a dog")
        self.assertEqual({q for j in w.jobs[jobs:] for q in j["questions"].values()}, {DOG})
        self.check_truth({i: e for i, e in w.events().items() if e.watch == "dog"}, w.truth[DOG][1:])
        jobs = len(w.jobs)
        self.put("dog", replace=True, since="all")  # farther back: only that is looked at
        archive = self.serve_archive("archive/gate", 2)
        self.assertEqual(archive.last("setup")["span"], list(utc(0, 24)))
        w.wait(lambda: w.ledger("gate", watch="dog") == [(0, 48, EXAMINED, "")], "the dog's ledger")
        self.assertEqual(len(w.jobs) - jobs, 2)

    def test_schedule(self):
        """Outside of its hours a watch is not asked, and nothing is said to be lost."""
        w = self.world  # it is Monday, 06:30
        w.watches["late"] = {"question": DOG, "schedule": "{hours: '06:31-07:00'}"}
        w.watches["sunday"] = {"question": DOG, "schedule": "{days: sun}"}
        camera = self.start_live(record=False)
        camera.frames(0, 120)
        w.wait(lambda: w.ledger("gate", watch="late") and w.ledger("gate", watch="late")[-1][1] >= 110, "asked")
        self.assertEqual({s[2] for s in w.ledger("gate", watch="late")}, {EXAMINED})
        start = w.ledger("gate", watch="late")[0][0]
        self.assertTrue(44 <= start <= 60, start)
        self.assertEqual(w.ledger("gate", watch="sunday"), [])

    def test_cool_down_and_confidence(self):
        w = self.world
        w.watches["car"] = {"question": CAR, "cool_down": "10s"}
        w.watches["sure"] = {"question": CAR, "confidence": 0.95}
        w.truth[CAR] = [utc(2, 4), utc(8, 10), utc(24, 26)]
        camera = self.start_file()
        camera.frames(0, 40)
        camera.order("end", duration_s=40.0)
        self.wait_finished()
        newest = self.check_sequence(self.heard())
        self.check_truth(newest, [w.truth[CAR][0], w.truth[CAR][2]])
        self.assertEqual({e.watch for e in newest.values()}, {"car"})

    def test_each_key_counts(self):
        """Of a watch that says more than its question: each key changes what becomes of the same answers."""
        w = self.world
        w.truth[CAR] = [utc(2, 4), utc(7, 8), utc(20, 26)]
        short, near, long = w.truth[CAR]
        keys = {"car": ({}, [short, near, long]),
                "joined": ({"join_gap": "4s"}, [(short[0], near[1]), long]),
                "lasting": ({"min_duration": "3s"}, [long]),
                "cooling": ({"cool_down": "10s"}, [short, long]),
                "sure": ({"confidence": 0.95}, []),
                "elsewhere": ({"cameras": "[other]"}, []),
                "later": ({"schedule": "{hours: '06:30-06:31', days: mon}"}, [short, near, long]),
                "never": ({"schedule": "{days: tue}"}, []),
                "zoned": ({"schedule": "{hours: '06:30-06:31', zone: 'XST+5'}"}, [])}
        for name, (settings, _) in keys.items():
            w.watches[name] = {"question": CAR, **settings}
        w.cameras["gate"] = {"url": "rtsp://127.0.0.1:9/gate", "record": "false"}
        w.cameras["other"] = {"url": "rtsp://127.0.0.1:9/other", "record": "false"}
        w.start()
        w.wait_camera("camera/gate").frames(0, 40)
        w.wait(lambda: w.ledger("gate") and w.ledger("gate")[-1][1] >= 39, "all is examined")
        newest = self.check_sequence(self.heard())
        for name, (_, truth) in keys.items():
            with self.subTest(name):
                self.check_truth({i: e for i, e in newest.items() if e.watch == name}, truth)
                self.assertEqual(bool(w.ledger("gate", watch=name)), name not in ("elsewhere", "never", "zoned"))

    def test_changed_watch(self):
        """Other settings examine nothing anew; another question examines all anew, and nobody else's."""
        w = self.world
        w.watches["dog"] = DOG
        w.truth[CAR] = [utc(4, 8)]
        self.examined_file()
        jobs = len(w.jobs)
        for settings in ({"join_gap": "3s"}, {"join_gap": "3s", "confidence": 0.5, "min_duration": "1s", "cool_down": "9s"}):
            w.watches["car"] = {"question": CAR, **settings}
            w.write_config()
            w.process.send_signal(signal.SIGHUP)
            w.wait_notified("READY=1")
            for _ in range(2):
                w.heartbeat = None
                w.wait(lambda: w.heartbeat, "heartbeat")
        self.assertEqual((len(w.jobs), w.incarnations("camera/yard")), (jobs, 1))
        self.assertEqual([s[:3] for s in w.ledger("yard")], [(0, 40, EXAMINED)])
        w.watches["car"] = "When does a bus stop?"
        w.write_config()
        w.process.send_signal(signal.SIGHUP)
        camera = w.wait_camera("camera/yard", 2)
        camera.frames(0, 40, session=2)
        camera.order("end", duration_s=40.0)
        w.wait(lambda: w.ledger("yard") and w.ledger("yard")[-1][1] == 40, "examined anew")
        self.assertEqual({q for j in w.jobs[jobs:] for q in j["questions"].values()}, {"When does a bus stop?"})
        self.assertEqual(sorted(j["pts"][0] // S for j in w.jobs[jobs:]), [0, 12, 24])

    def test_cool_down_over_restart(self):
        """What cools down does so over whend's own end, a hole and a changed watch, and on into recordings."""
        w = self.world
        w.watches["car"] = {"question": CAR, "cool_down": "20s"}
        w.truth[CAR] = [utc(2, 6), utc(18, 20), utc(23, 25), utc(40, 44), utc(52, 54)]
        camera = self.start_live(record=False)
        camera.frames(0, 12)
        w.wait(lambda: any(e.state == FINAL for e in w.events().values()), "the first car")
        w.kill()
        w.start()
        camera = w.wait_camera("camera/gate")
        camera.frames(14, 30, session=2)  # 18 and 23 are within 20 s of 6
        camera.frames(38, 50, session=3)
        w.wait(lambda: sum(e.state == FINAL for e in w.events().values()) == 2, "the fourth car")
        w.watches["car"] = {"question": CAR, "cool_down": "15s"}
        w.write_config()
        w.process.send_signal(signal.SIGHUP)
        w.wait_notified("READY=1")
        camera.frames(50, 70, session=3)  # 52 is within 15 s of 44
        w.wait(lambda: w.ledger("gate")[-1][1] >= 69, "all is examined")
        self.check_truth(self.check_sequence(self.heard()), [w.truth[CAR][0], w.truth[CAR][3]])

    def test_clock_set_back(self):
        """What was seen once under other times is seen again under these: no event is lost, none said twice."""
        w = self.world
        w.truth[CAR] = [utc(13, 17)]
        camera = self.start_live(record=False)
        camera.frames(0, 30)
        w.wait(lambda: w.ledger("gate") and w.ledger("gate")[-1][1] >= 24, "two windows")
        w.truth[CAR] = [utc(13, 17), utc(20, 22), utc(28, 32)]
        camera.frames(30, 60, session=2, utc=UTC - 20 * S)  # from 10 on again
        w.wait(lambda: w.ledger("gate")[-1][1] >= 39, "all is examined")
        self.check_truth(self.check_sequence(self.heard()), w.truth[CAR])


if __name__ == "__main__":
    unittest.main()
