"""whend from its sockets: what is published, stored and answered when workers do as told, die, or misbehave."""
import os
import select
import signal
import subprocess
import unittest

from world import (EXAMINED, FINAL, LOST, OPEN, RETRACTED, S, UTC, WAITING, World, query_pb2)

CAR = "When does a car drive past?"


def utc(*seconds):
    return tuple(UTC + int(s * S) for s in seconds)


class Helpers:
    def setUp(self):
        self.world = World()

    def tearDown(self):
        failed = any(error for _, error in self._outcome.result.errors + self._outcome.result.failures) \
            if hasattr(self._outcome, "result") else True
        self.world.close(keep=failed)

    # --- helpers ---

    def start_file(self, **more):
        w = self.world
        w.file_camera("yard", **more)
        w.start()
        return w.wait_camera("camera/yard")

    def start_live(self, record=True):
        w = self.world
        w.cameras["gate"] = {"url": "rtsp://127.0.0.1:9/gate", "record": str(record).lower()}
        w.start()
        return w.wait_camera("camera/gate")

    def wait_finished(self, name="yard"):
        self.world.wait(lambda: name in self.world.progress and self.world.progress[name].done == 1.0, "finished")

    def heard(self):
        """All that was committed so far: answers to a request may overtake events on their way to the subscriber."""
        w, last = self.world, self.world.status().last_sequence
        w.wait(lambda: last == 0 or (w.messages and w.messages[-1].sequence >= last), "the last committed event")
        return w.messages

    def check_sequence(self, messages, last=None):
        """No gap, no repetition; revisions of each event rise by one; nothing follows a final one."""
        self.assertEqual([m.sequence for m in messages], list(range(1, len(messages) + 1)))
        newest = {}
        for m in messages:
            before = newest.get(m.event.id)
            self.assertEqual(m.event.revision, before.revision + 1 if before else 1)
            if before and before.state == FINAL:
                self.assertEqual(m.event.state, RETRACTED)
            newest[m.event.id] = m.event
        if last is not None:
            self.assertEqual(len(messages), last)
        return newest

    def check_truth(self, events, truth):
        """Each true interval was found once, within its stated error (a frame is half a second here)."""
        found = sorted((e for e in events.values() if e.state == FINAL), key=lambda e: e.start_us)
        self.assertEqual(len(found), len(truth), found)
        for event, (start, end) in zip(found, sorted(truth)):
            self.assertLessEqual(abs(event.start_us - start), event.start_err_us)
            self.assertLessEqual(abs(event.end_us - end), event.end_err_us)
            self.assertLess(event.start_err_us, 2 * S)


class TestDaemon(Helpers, unittest.TestCase):
    # --- what should happen ---

    def test_file(self):
        w = self.world
        w.truth[CAR] = [utc(10, 20), utc(50.5, 55)]
        camera = self.start_file()
        setup = camera.last("setup")
        self.assertEqual((setup["cell"], setup["min"], setup["max"]), (28, 784, 78400))
        for number, source in enumerate(("rtcp", "file", "name", "config", "arrival"), 1):
            camera.order("health", state="running", duration_s=60.0, utc_source=number, utc_err_us=number * 1000, fps_out=2.0)
            w.wait(lambda: w.camera_status("yard").utc_source == source, source)
            self.assertEqual(w.camera_status("yard").utc_err_us, number * 1000)
        camera.frames(0, 60)
        camera.order("end", duration_s=60.0)
        self.wait_finished()
        newest = self.check_sequence(w.messages)
        self.check_truth(newest, w.truth[CAR])
        # Everything was looked at, each window once, with the overlap that the config says.
        self.assertEqual(w.ledger("yard"), [(0, 60, EXAMINED, "")])
        self.assertEqual([job["pts"][0] / S for job in w.jobs], [0, 12, 24, 36, 48])
        # The service says the same.
        replayed, last = w.replay()
        self.assertEqual(replayed, w.messages)
        self.assertEqual(w.replay(2)[0], w.messages[2:])
        w.wait(lambda: w.heartbeat and w.heartbeat.last_sequence == last, "heartbeat")
        answer = w.ask(ask=query_pb2.AskRequest(question="when did a car drive past?"))[0].ask
        self.assertEqual(list(answer.watches), ["car"])
        self.assertEqual([e.id for e in answer.events], sorted(newest, key=lambda i: newest[i].start_us))
        self.assertEqual(answer.coverage[0].examined_us, 60 * S)
        nobody = w.ask(ask=query_pb2.AskRequest(question="when did it snow?"))[0].ask
        self.assertEqual((len(nobody.events), len(nobody.watches), len(nobody.coverage)), (0, 0, 0))
        events = w.ask(events=query_pb2.EventsRequest(since_us=utc(30)[0]))[0].events.events
        self.assertEqual(len(events), 1)
        w.wait(lambda: w.worker_status("camera/yard").state == "finished", "state")
        self.assertEqual(w.camera_status("yard").state, "finished")
        self.assertEqual(w.status().model_notice, "knows nothing")
        # And after a restart it is not read again.
        w.stop()
        w.start()
        self.assertEqual(w.camera_status("yard").state, "finished")
        self.assertEqual(w.camera_status("yard").done, 1.0)
        self.assertIsNone(w.worker_status("camera/yard"))
        self.assertEqual(w.replay()[0], replayed)

    def test_credit(self):
        """A file is read as fast as it is examined, three windows ahead."""
        w = self.world
        w.auto = False
        camera = self.start_file(fps=2)
        camera.frames(0, 600, wait=False)
        w.wait(lambda: w.jobs, "job")
        for _ in range(10):
            w.status()
        self.assertEqual(camera.count("sent"), 0)
        self.assertLessEqual(w.camera_status("yard").frames, 3 * 17 * 2 + 8)
        w.auto = True
        for job in w.jobs:
            w.answer(job)
        w.wait(lambda: camera.count("sent"), "sent")
        camera.order("end", duration_s=600.0)
        self.wait_finished()
        self.assertEqual(w.ledger("yard"), [(0, 600, EXAMINED, "")])

    def test_live(self):
        w = self.world
        w.truth[CAR] = [utc(4, 8)]
        camera = self.start_live(record=False)
        camera.frames(0, 17.5)
        w.wait(lambda: any(m.event.state == FINAL for m in w.messages), "final event")
        self.check_truth(self.check_sequence(self.heard()), w.truth[CAR])
        self.assertEqual(w.messages[0].event.camera, "gate")
        # The camera falls silent: what is buffered is examined all the same.
        w.wait(lambda: w.ledger("gate") == [(0, 17.5, EXAMINED, "")], "the rest")

    def test_time_correction(self):
        """Frames from before the first sender report get its clock afterwards."""
        w = self.world
        w.truth[CAR] = [utc(4, 8)]
        camera = self.start_live(record=False)
        camera.frames(0, 2, utc=UTC + 3 * S, source=5, err=2 * S)
        camera.order("correction", session=1, utc_minus_pts_us=UTC, utc_err_us=1000, utc_source=1)
        camera.frames(2, 18, source=1)
        w.wait(lambda: w.ledger("gate"), "ledger")
        self.assertEqual(w.ledger("gate")[0][0], 0)
        self.check_truth(self.check_sequence(self.heard()), w.truth[CAR])

    def test_new_session_continues_event(self):
        """A reconnect without a hole neither splits the ledger nor loses an event."""
        w = self.world
        w.truth[CAR] = [utc(2, 6), utc(22, 26)]
        camera = self.start_live(record=False)
        camera.frames(0, 10, session=1)
        camera.frames(0, 30, session=2, utc=UTC + 10 * S)
        w.wait(lambda: w.ledger("gate") == [(0, 40, EXAMINED, "")], "ledger")
        self.check_truth(self.check_sequence(self.heard()), w.truth[CAR])

    # --- deaths ---

    def test_kill_whend(self):
        w = self.world
        w.truth[CAR] = [utc(10, 20), utc(34, 42), utc(100, 110)]
        w.auto = False
        camera = self.start_file()
        camera.frames(0, 60, wait=False)
        for n in range(1, 4):  # killed with an event open and jobs on their way
            w.wait(lambda: len(w.jobs) >= n, "job")
            w.answer(w.jobs[n - 1])
        w.wait(lambda: any(m.event.state == OPEN and m.event.start_us > utc(30)[0] for m in w.messages), "open event")
        w.kill()
        published = list(w.messages)
        w.auto = True
        w.start()
        replayed, last = w.replay()
        self.assertEqual(replayed[:len(published)], published)
        camera = w.wait_camera("camera/yard")
        camera.frames(0, 120, session=9)
        camera.order("end", duration_s=120.0)
        self.wait_finished()
        replayed, last = w.replay()
        newest = self.check_sequence(replayed, last)
        self.check_truth(newest, w.truth[CAR])
        self.assertEqual(w.ledger("yard"), [(0, 120, EXAMINED, "")])
        # What was examined was not examined again; the open event went on under its own id.
        self.assertEqual(w.jobs[0]["pts"][0], 36 * S)
        self.assertEqual(len(newest), 3)
        # A subscriber that was there before and after missed nothing.
        live = {m.sequence: m for m in w.messages}
        self.assertEqual([live[s] for s in sorted(live)], [m for m in replayed if m.sequence in live])

    def test_kill_whend_live(self):
        w = self.world
        w.truth[CAR] = [utc(14, 30)]
        camera = self.start_live(record=False)
        camera.frames(0, 17.5)
        w.wait(lambda: w.messages and w.ledger("gate"), "open event")
        self.assertEqual(w.messages[-1].event.state, OPEN)
        w.kill()
        w.start()
        # Nothing continues it: it ends where it was seen last.
        w.wait(lambda: w.replay()[0][-1].event.state == FINAL, "final")
        camera = w.wait_camera("camera/gate")
        camera.frames(100, 118)
        w.wait(lambda: w.ledger("gate", EXAMINED)[1:], "ledger")
        self.check_sequence(*w.replay())
        lost = w.ledger("gate", LOST)
        self.assertEqual([span[3] for span in lost], ["whend was not running"])
        self.assertEqual(lost[0][1], 100)

    def test_kill_whend_recorded(self):
        """A recording that was closed while whend was dead is found by its name, and the hole is filled in from it."""
        w = self.world
        w.truth[CAR] = [utc(14, 18), utc(22, 27)]
        camera = self.start_live()
        camera.frames(0, 17.5)
        w.wait(lambda: w.ledger("gate"), "ledger")
        w.kill()
        folder = os.path.join(w.dir, "state/recordings/gate")
        path = os.path.join(folder, "20260105T063000.000Z.mp4")
        for name in (path, path + ".part", os.path.join(folder, "notes.mp4")):
            open(name, "w").close()
            os.utime(name, (UTC // S + 31, UTC // S + 31))
        w.start()
        camera = w.wait_camera("camera/gate")
        camera.frames(40, 58)
        archive = w.wait_camera("archive/gate")
        setup = archive.last("setup")
        self.assertEqual(setup["files"], [path])
        self.assertEqual(setup["span"], list(utc(12, 31)))
        archive.frames(12, 31, session=3)
        archive.order("end")
        w.wait(lambda: w.ledger("gate", EXAMINED)[:1] == [(0, 31, EXAMINED, "")], "examined from the recording")
        # The rest waits for a later recording to show that there is none of it.
        self.assertEqual([s[:2] for s in w.ledger("gate", WAITING)], [(31, 40)])
        camera.order("recording", path="/40.mp4", start_us=utc(40)[0], end_us=utc(62)[0], bytes=1, utc_source=1)
        w.wait(lambda: w.ledger("gate", LOST) == [(31, 40, LOST, "no recording of it")], "lost")
        # The first car was known as far as it was seen; now the whole of it has taken its place.
        self.check_truth(self.check_sequence(*w.replay()), w.truth[CAR])

    def test_kill_analyst(self):
        w = self.world
        w.auto = False
        w.truth[CAR] = [utc(4, 8)]
        camera = self.start_file()
        camera.frames(0, 30)
        camera.order("end", duration_s=30.0)
        w.wait(lambda: len(w.jobs) == 2, "jobs")
        w.worker("analyst/0").kill()
        w.wait(lambda: w.incarnations("analyst/0") == 2 and w.worker("analyst/0").count("setup"), "analyst")
        w.auto = True
        w.worker("analyst/0").order("loaded")
        self.wait_finished()
        self.assertEqual(w.jobs[2]["pts"], w.jobs[0]["pts"])  # the same windows, in the same order
        self.assertEqual(w.jobs[3]["pts"], w.jobs[1]["pts"])
        self.check_truth(self.check_sequence(self.heard()), w.truth[CAR])
        self.assertEqual(w.ledger("yard"), [(0, 30, EXAMINED, "")])
        status = w.worker_status("analyst/0")
        self.assertEqual((status.restarts, status.state), (1, "running"))
        self.assertIn("signal 9", status.reason)

    def test_deadly_window(self):
        """A window on which the analyst dies twice is lost, the others are not."""
        w = self.world
        w.auto = False
        camera = self.start_file()
        camera.frames(0, 30)
        camera.order("end", duration_s=30.0)
        for n in (1, 2):
            w.wait(lambda: len(w.jobs) == 2 * n, "jobs")
            w.worker("analyst/0").kill()
            w.wait(lambda: w.incarnations("analyst/0") == n + 1 and w.worker("analyst/0").count("setup"), "analyst")
            w.auto = n == 2
            w.worker("analyst/0").order("loaded")
        self.wait_finished()
        self.assertEqual([(s, e, state) for s, e, state, _ in w.ledger("yard")], [(0, 12, LOST), (12, 30, EXAMINED)])
        self.assertIn("signal 9", w.ledger("yard", LOST)[0][3])

    def test_failed_job(self):
        w = self.world
        w.auto = False
        camera = self.start_file()
        camera.frames(0, 10)
        camera.order("end", duration_s=10.0)
        w.wait(lambda: w.jobs, "job")
        w.worker("analyst/0").order("answer", job=w.jobs[0]["job"], answers={}, failed="does not fit the context")
        w.wait(lambda: w.ledger("yard"), "ledger")
        self.assertEqual(w.ledger("yard"), [(0, 10, LOST, "does not fit the context")])

    def test_model_cannot_be_loaded(self):
        w = self.world
        w.file_camera("yard")
        w.start(load=False)
        w.wait(lambda: w.worker("analyst/0") and w.worker("analyst/0").count("setup"), "analyst")
        w.worker("analyst/0").order("loaded", failed="config.json: no such file", code=66)
        w.wait(lambda: w.worker_status("analyst/0").state == "failed", "failed")
        self.assertEqual(w.worker_status("analyst/0").reason, "config.json: no such file")
        w.wait(lambda: w.worker("camera/yard"), "camera")
        self.assertEqual(w.worker("camera/yard").count("setup"), 0)
        self.assertLess(w.stop(), 10)

    def test_kill_camera_of_file(self):
        """Read again from its begin, but nothing is examined twice."""
        w = self.world
        w.truth[CAR] = [utc(10, 20), utc(30, 35)]
        camera = self.start_file()
        camera.frames(0, 25)
        w.wait_frames("yard", 50)
        camera.kill()
        camera = w.wait_camera("camera/yard", 2)
        camera.frames(0, 50, session=2)
        camera.order("end", duration_s=50.0)
        self.wait_finished()
        self.check_truth(self.check_sequence(self.heard()), w.truth[CAR])
        self.assertEqual(w.ledger("yard"), [(0, 50, EXAMINED, "")])
        self.assertEqual([job["pts"][0] / S for job in w.jobs], [0, 12, 24, 36])
        self.assertEqual(w.worker_status("camera/yard").restarts, 1)

    def test_kill_camera_recorded(self):
        """The hole that a dead worker leaves waits, and is filled in from its recording once that is there."""
        w = self.world
        w.truth[CAR] = [utc(24, 28)]
        camera = self.start_live()
        self.assertTrue(camera.last("setup")["recording_dir"].endswith("/state/recordings/gate"))
        camera.frames(0, 20)
        w.wait_frames("gate", 40)
        camera.kill()
        camera = w.wait_camera("camera/gate", 2)
        camera.frames(32, 50, session=2)
        w.wait(lambda: w.ledger("gate", WAITING), "waiting span")
        (start, end, _, reason), = w.ledger("gate", WAITING)
        self.assertEqual((start, end), (20, 32))
        self.assertIn("worker restarted: killed by signal 9", reason)
        files = []
        for n, (begin, end) in enumerate([(0, 30), (30, 62)]):
            files.append(os.path.join(w.dir, f"{n}.mp4"))
            open(files[-1], "w").close()
            camera.order("recording", path=files[-1], start_us=utc(begin)[0], end_us=utc(end)[0], utc_err_us=1000,
                         utc_source=1, bytes=1000)
        archive = w.wait_camera("archive/gate")
        self.assertEqual(archive.last("setup")["span"], list(utc(20, 32)))
        self.assertEqual(archive.last("setup")["files"], files)
        self.assertEqual(archive.last("setup")["recording_dir"], "")
        archive.frames(20, 32, session=3)
        archive.order("end")
        w.wait(lambda: all(s[2] == EXAMINED for s in w.ledger("gate")) and w.ledger("gate")[-1][1] == 50, "examined")
        self.assertEqual(w.ledger("gate")[0][0], 0)
        self.check_truth(self.check_sequence(self.heard()), w.truth[CAR])

    def test_hole_without_recording(self):
        w = self.world
        camera = self.start_live()
        camera.frames(0, 20)
        camera.frames(30, 48, session=2)  # the camera was dark, and its recordings show nothing of it
        for begin, end in ((0, 20), (30, 62)):
            camera.order("recording", path=f"/{begin}.mp4", start_us=utc(begin)[0], end_us=utc(end)[0], bytes=1,
                         utc_source=1)
        w.wait(lambda: w.ledger("gate", LOST), "lost span")
        self.assertEqual(w.ledger("gate", LOST), [(20, 30, LOST, "no recording of it")])
        self.assertEqual(w.ledger("gate", WAITING), [])

    def test_archive_fails(self):
        """A recording that cannot be read is tried again, and given up for good after some times."""
        w = self.world
        camera = self.start_live()
        camera.frames(0, 20)
        camera.frames(30, 48, session=2)
        path = os.path.join(w.dir, "0.mp4")
        camera.order("recording", path=path, start_us=utc(0)[0], end_us=utc(62)[0], bytes=1, utc_source=1)
        archive = w.wait_camera("archive/gate")
        archive.order("end", failed=True, exit_code=65, reason="0.mp4: not a video")
        w.wait(lambda: w.worker_status("archive/gate") is None, "archive worker gone")
        self.assertEqual([s[:3] for s in w.ledger("gate", WAITING)], [(20, 30, WAITING)])

    # --- overload, full disk ---

    def test_overload(self):
        w = self.world
        w.auto = False
        camera = self.start_live(record=False)
        camera.frames(0, 12 * 14 + 5)
        w.wait(lambda: w.ledger("gate", LOST), "lost spans")
        lost = w.ledger("gate", LOST)
        self.assertEqual({s[3] for s in lost}, {"analyst too slow"})
        self.assertTrue(all(e - s == 12 for s, e, _, _ in lost), lost)  # no two neighbours
        w.auto = True
        for job in w.jobs:
            w.answer(job)
        w.wait(lambda: len(w.jobs) + len(lost) >= 14, "the rest")
        w.wait(lambda: sum(e - s for s, e, _, _ in w.ledger("gate")) == 12 * 14 + 5, "all is in the ledger")
        self.assertGreater(w.camera_status("gate").dropped, 0)

    def test_overload_recorded(self):
        """Overload thins live coverage evenly over the cameras, and leaves the rest waiting; idle time works it off."""
        w = self.world
        w.auto = False
        names = ("gate", "dock", "yard")
        for name in names:
            w.cameras[name] = {"url": f"rtsp://127.0.0.1:9/{name}"}
        w.start()
        cameras = {name: w.wait_camera(f"camera/{name}") for name in names}
        for start in range(0, 12 * 10 + 5, 12):  # of each a window a turn
            for camera in cameras.values():
                camera.frames(start, min(start + 12, 125))
        w.wait(lambda: sum(len(w.ledger(name, WAITING)) for name in names) >= 3, "waiting spans")
        for name in names:
            self.assertEqual(w.ledger(name, LOST), [])
            self.assertEqual({s[3] for s in w.ledger(name, WAITING)}, {"analyst too slow"})
        w.auto = True
        for job in w.jobs:
            w.answer(job)
        w.wait(lambda: all(sum(e - s for s, e, _, _ in w.ledger(n)) == 125 for n in names), "all is in the ledger")
        waiting = [sum(e - s for s, e, _, _ in w.ledger(name, WAITING)) for name in names]
        self.assertGreater(min(waiting), 0)
        self.assertLessEqual(max(waiting) - min(waiting), 24, waiting)
        for name in names:
            path = os.path.join(w.dir, name + ".mp4")
            open(path, "w").close()
            cameras[name].order("recording", path=path, start_us=utc(0)[0], end_us=utc(130)[0], bytes=1, utc_source=1)
        for _ in names:
            w.wait(lambda: any(w.worker(f"archive/{n}") and w.worker(f"archive/{n}").count("setup") and
                               not w.worker(f"archive/{n}").count("sent") for n in names), "an archive job")
            archive = next(w.worker(f"archive/{n}") for n in names if w.worker(f"archive/{n}") and
                           not w.worker(f"archive/{n}").count("sent"))
            start, end = archive.last("setup")["span"]
            archive.frames((start - UTC) / S, (end - UTC) / S, session=9)
            archive.order("end")
        w.wait(lambda: all([s[:3] for s in w.ledger(n)] == [(0, 125, EXAMINED)] for n in names), "nothing waits")

    def test_disk_full(self):
        """Nothing is published that is not stored; everything is, once it can be."""
        w = self.world
        w.truth[CAR] = [utc(4, 8)]
        w.auto = False
        camera = self.start_file()
        camera.frames(0, 40)
        camera.order("end", duration_s=40.0)
        w.wait(lambda: w.jobs, "job")
        w.limit_files(0)
        w.auto = True
        for job in w.jobs:
            w.answer(job)
        w.wait_notified("cannot store events")
        for _ in range(3):
            w.status()
        self.assertEqual(w.messages, [])
        self.assertEqual(w.replay(), ([], 0))
        w.limit_files(1 << 40)
        self.wait_finished()
        self.check_truth(self.check_sequence(*[w.replay()[0]]), w.truth[CAR])
        self.assertEqual(w.ledger("yard"), [(0, 40, EXAMINED, "")])

    # --- config ---

    def test_reload(self):
        w = self.world
        w.file_camera("old")
        camera = self.start_live(record=False)
        old = w.wait_camera("camera/old")
        camera.frames(0, 5)
        # A bad config changes nothing.
        w.watches["dog"] = {"question": "When does a dog run?", "colour": "brown"}
        w.write_config()
        w.process.send_signal(signal.SIGHUP)
        w.wait_notified("READY=1")
        self.assertEqual(list(w.status().watches), ["car"])
        # A good one: a watch more, a camera less, a camera more.
        w.watches["dog"] = "When does a dog run?"
        del w.cameras["old"]
        w.file_camera("new")
        w.write_config()
        w.process.send_signal(signal.SIGHUP)
        w.wait_notified("READY=1")
        self.assertEqual(sorted(w.status().watches), ["car", "dog"])
        w.wait(lambda: old.count("stop"), "old camera stops")
        w.wait_camera("camera/new")
        camera.frames(5, 18)
        w.wait(lambda: w.jobs, "job")
        self.assertEqual(sorted(w.jobs[0]["questions"].values()), [CAR, "When does a dog run?"])
        self.assertEqual(w.jobs[0]["pts"][0], 0)  # not a frame of the unchanged camera was lost
        self.assertEqual(w.incarnations("camera/gate"), 1)
        # A changed camera starts anew.
        w.cameras["gate"]["fps"] = 1
        w.write_config()
        w.process.send_signal(signal.SIGHUP)
        w.wait_camera("camera/gate", 2)
        self.assertEqual(w.worker_status("camera/gate").restarts, 0)

    def test_reload_nothing_changed(self):
        """A file is read on, and one that was read stays so."""
        w = self.world
        w.truth[CAR] = [utc(4, 8), utc(30, 33)]
        camera = self.start_file()
        camera.frames(0, 20)
        w.wait(lambda: w.ledger("yard"), "the first window")
        for _ in range(2):
            w.process.send_signal(signal.SIGHUP)
            w.wait_notified("READY=1")
        camera.frames(20, 40)
        camera.order("end", duration_s=40.0)
        self.wait_finished()
        w.process.send_signal(signal.SIGHUP)
        w.wait_notified("READY=1")
        self.assertEqual(w.ask(reload=query_pb2.ReloadRequest())[0].done.text, "whend.yaml was read again")
        self.assertEqual((len(w.jobs), w.incarnations("camera/yard")), (3, 1))
        self.assertEqual(w.ledger("yard"), [(0, 40, EXAMINED, "")])
        self.check_truth(self.check_sequence(self.heard()), w.truth[CAR])

    def test_new_watch_on_finished_file(self):
        w = self.world
        w.truth["When does a dog run?"] = [utc(3, 7)]
        camera = self.start_file()
        camera.frames(0, 20)
        camera.order("end", duration_s=20.0)
        self.wait_finished()
        jobs = len(w.jobs)
        w.watches["dog"] = "When does a dog run?"
        w.write_config()
        w.process.send_signal(signal.SIGHUP)
        camera = w.wait_camera("camera/yard", 2)
        camera.frames(0, 20, session=2)
        camera.order("end", duration_s=20.0)
        w.wait(lambda: any(m.event.state == FINAL for m in w.messages), "dog")
        self.assertTrue(all(list(j["questions"].values()) == ["When does a dog run?"] for j in w.jobs[jobs:]))
        w.wait(lambda: w.ledger("yard", watch="dog") == [(0, 20, EXAMINED, "")], "ledger")

    # --- bad input ---

    def test_bad_requests(self):
        w = self.world
        self.start_live()
        request = query_pb2.Request
        cases = [
            ((b"\xff\xff\xff",), 76, "not a request"),
            ((request(version=9, status=query_pb2.StatusRequest()).SerializeToString(),), 76, "version 9"),
            ((request(version=1).SerializeToString(),), 76, "does not know"),
            ((request(version=1, ask=query_pb2.AskRequest(question="x" * 100000)).SerializeToString(),), 65, "100000"),
            ((request(version=1, ask=query_pb2.AskRequest(question="  ")).SerializeToString(),), 65, "empty"),
            ((request(version=1, ask=query_pb2.AskRequest(question="x", cameras=["c" * 64])).SerializeToString(),), 65,
             "names"),
            ((request(version=1, replay=query_pb2.ReplayRequest(after_sequence=99)).SerializeToString(),), 65,
             "beyond the last"),
        ]
        for parts, code, text in cases:
            error = w.ask_raw(*parts)[0].error
            self.assertEqual(error.exit_code, code, text)
            self.assertIn(text, error.text)
        self.assertEqual(w.status().bad_messages, 3)
        # A field that a later version has (number 999) is passed over.
        later = request(version=1, status=query_pb2.StatusRequest()).SerializeToString() + b"\xba\x3e\x05later"
        self.assertTrue(w.ask_raw(later)[0].status.daemon_id)

    def test_bad_worker_messages(self):
        """A worker that talks nonsense harms nobody."""
        w = self.world
        camera = self.start_live(record=False)
        camera.order("raw", parts=["ffffff"])
        camera.order("raw", parts=[""])
        camera.order("raw", parts=["0801" + "220608001000" "1800", "00"])  # a frame that is not as large as it says
        camera.order("raw", parts=["0801220608001000" "1800"])  # a frame without pixels
        camera.frames(0, 18)
        w.wait(lambda: w.ledger("gate"), "ledger")
        self.assertEqual(w.status().bad_messages, 4)

    def test_exclusive(self):
        w = self.world
        self.start_live()
        second = w.run_to_end()
        self.assertEqual(second.returncode, 75, second.stderr)
        self.assertIn(f"in use by another whend (pid {w.process.pid})", second.stderr)
        self.assertEqual(second.stderr.count("\n"), 1)
        state = f"state_dir: {w.dir}/state\n"
        with open(w.config_path) as file:
            text = file.read()
        with open(w.config_path, "w") as file:
            file.write(text.replace(state, f"state_dir: {w.dir}/state2\n"))
        second = w.run_to_end()
        self.assertIn(second.returncode, (69, 73, 75), second.stderr)
        self.assertIn("ipc://", second.stderr)
        self.assertTrue(w.status().daemon_id)  # the first one goes on

    def test_command_line(self):
        w = self.world
        w.file_camera("yard")
        w.write_config()

        def run(*args):
            return subprocess.run([w.command()[0], *args], capture_output=True, text=True)

        self.assertEqual(run("--version").returncode, 0)
        self.assertIn("--check-config", run("--help").stdout)
        self.assertEqual(run().returncode, 64)
        self.assertEqual(run("--config", w.config_path, "x").returncode, 64)
        self.assertEqual(run("--config", w.config_path, "--log-level", "loud").returncode, 64)
        self.assertEqual(run("--check-config", w.config_path).returncode, 0)
        self.assertEqual(run("--config", "/nowhere.yaml").returncode, 66)
        with open(w.config_path, "a") as file:
            file.write("windw: 3s\n")
        bad = run("--check-config", w.config_path)
        self.assertEqual(bad.returncode, 78)
        lines = open(w.config_path).read().count("\n")
        self.assertEqual(bad.stderr, f"whend: {w.config_path}:{lines}:1: windw: unknown key (did you mean window?)\n")

    def test_stop(self):
        """SIGTERM ends all within 10 s, whatever the workers do."""
        w = self.world
        w.file_camera("yard")
        camera = self.start_live()
        camera.order("deaf")
        w.wait(lambda: camera.count("deaf"), "deaf")
        yard = w.wait_camera("camera/yard")
        self.assertLess(w.stop(), 10)
        for worker in (camera, yard, w.worker("analyst/0")):
            self.assertFalse(os.path.exists(f"/proc/{worker.pid}"))

    def test_workers_die_with_whend(self):
        w = self.world
        camera = self.start_live()
        pid = os.pidfd_open(camera.pid)
        w.kill()
        self.assertTrue(select.select([pid], [], [], 30)[0])
        os.close(pid)


if __name__ == "__main__":
    unittest.main()
