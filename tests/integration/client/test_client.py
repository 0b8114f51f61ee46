"""whenctl, the Python example and the C example against a real whend, also while that is killed and started again."""
import json
import os
import signal
import subprocess
import sys
import unittest
from xml.etree import ElementTree

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "system"))
import harness  # noqa: E402
from harness import World, one_line, program, run  # noqa: E402

EX_USAGE, EX_DATAERR, EX_NOINPUT, EX_UNAVAILABLE = 64, 65, 66, 69
WATCHES = {"red-car": "When does a red car drive past?", "door": "When is the door open?",
           "yellow-car": "When does a yellow car drive past?"}
FOLLOW = os.path.join(harness.BUILD, "client", "python", "follow.py")


class Client(unittest.TestCase):
    def examined(self):
        world = World(watches=WATCHES).start()
        self.addCleanup(world.__exit__, None)
        world.wait_examined(world.subscribe())
        return world

    def follow(self, world, *args):
        """Starts whenctl follow; its lines are read with next_line."""
        child = subprocess.Popen([program("whenctl"), "--endpoint", world.query_endpoint, "follow", *args], text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=harness.die_with_parent)
        self.addCleanup(child.wait)
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.stderr.close)
        self.addCleanup(child.kill)
        return child

    def sequences(self, child, last):
        """Sequence numbers that it prints, up to `last`."""
        seen = []
        while not seen or seen[-1] < last:
            line = child.stdout.readline()
            self.assertTrue(line, f"ended after {seen}")
            line = json.loads(line)
            if line["type"] == "event":
                seen.append(line["sequence"])
        return seen

    def test_verbs(self):
        """Every verb for people and for programs; grep's exit codes; what is not there is not a no."""
        world = self.examined()
        found = world.ctl("ask", "when did a red car drive past?")
        self.assertEqual((found.returncode, found.stderr), (0, ""))
        lines = found.stdout.splitlines()
        for line in lines[:-1]:
            self.assertRegex(line, r"^2026-01-05T06:30:[0-9.]+Z (±|\+/-) [0-9.]+ s  \.\.  2026-01-05T06:3[01]:[0-9.]+Z (±|\+/-) "
                                   r"[0-9.]+ s  gate  a red car drives past  \(red-car, 0\.[0-9]+\)$")
        self.assertRegex(lines[-1], r"^Examined: gate 1m00s\.$")
        none = world.ctl("ask", "when did a red car drive past?", "--until", "2026-01-05T06:30:02Z")
        self.assertEqual((none.returncode, none.stdout), (1, "No: not in what was examined (gate 2.0 s of 2.0 s).\n"))
        nobody = world.ctl("ask", "when did a submarine surface?")
        self.assertEqual(nobody.returncode, 1)
        self.assertEqual(nobody.stdout, "Nobody looked: no watch asks this. (watches: red-car, door, yellow-car)\n")
        before = world.ctl("ask", "when did a red car drive past?", "--until", "2025-01-01")
        self.assertEqual((before.returncode, before.stdout), (1, "Nobody looked: nothing of that time was examined.\n"))

        answer = json.loads(world.ctl("ask", "when did a red car drive past?", "--json").stdout)
        self.assertEqual(set(answer), {"events", "watches", "former_watches", "since_us", "until_us", "coverage"})
        events = [json.loads(line) for line in world.ctl("events", "--json", "--watch", "red-car").stdout.splitlines()]
        self.assertEqual(answer["events"], events)
        self.assertEqual(len(world.ctl("events", "--limit", "2").stdout.splitlines()), 2)
        status = json.loads(world.ctl("status", "--json").stdout)
        self.assertEqual(status["watches"], list(WATCHES))
        self.assertIn(status["daemon_id"], world.ctl("status").stdout)
        cameras = json.loads(world.ctl("cameras", "--json").stdout)["cameras"]
        self.assertEqual([c["name"] for c in cameras], ["gate"])
        self.assertIn("gate", world.ctl("cameras").stdout)
        coverage = json.loads(world.ctl("coverage", "--json", "--watch", "door").stdout)["coverage"]
        self.assertAlmostEqual(coverage[0]["examined_us"] / 1e6, 60, delta=1)
        self.assertEqual({span["watch"] for span in coverage[0]["spans"]}, {"door"})
        self.assertIn("examined  door", world.ctl("coverage").stdout)

    def test_deep(self):
        """A question that nobody asked: the model looks. whenctl and the Python example say the same, in words of time, too."""
        world = self.examined()
        question = "When does a blue car drive past?"
        nobody = world.ctl("ask", question)
        self.assertIn("no watch asks this", nobody.stdout)
        deep = json.loads(world.ctl("ask", "--deep", "--json", question).stdout)
        self.assertEqual((deep["stopped"], [c["waiting_us"] for c in deep["coverage"]]), ("", [0]))
        self.assertAlmostEqual(deep["coverage"][0]["examined_us"] / 1e6, 60, delta=1)
        # The same question, asked by another client and again: from the index, event by event.
        again = json.loads(world.ctl("ask", "--json", question).stdout)
        self.assertEqual((again["events"], again["watches"]), (deep["events"], []))
        for extra in ((), ("--during", "2026-01-05 between 6:30 and 7"), ("--during", "2026-01-04")):
            ours = json.loads(world.ctl("ask", "--json", question, "--zone", "UTC", *extra).stdout)
            theirs = run(sys.executable, FOLLOW, "--runtime-dir", world.runtime, "--ask", question, *extra)
            self.assertEqual(theirs.returncode, 0, theirs.stderr)
            lines = theirs.stdout.splitlines()
            self.assertEqual(len([x for x in lines if not x.startswith(("examined", "nobody"))]), len(ours["events"]))
            for event, text in zip(ours["events"], lines):
                self.assertIn(event["description"], text)
                self.assertIn(f"-/+ {event['start_err_us'] / 1e6:.2f} s .. ", text)
            for coverage in ours["coverage"]:
                self.assertIn(f"examined: {coverage['camera']} {coverage['examined_us'] / 1e6:.1f} s", theirs.stdout)
        text = world.ctl("ask", question, "--during", "2026-01-05", "--zone", "UTC").stdout
        self.assertIn("2026-01-05: from 2026-01-05T00:00:00.000Z to 2026-01-06T00:00:00.000Z", text)
        self.assertIn("No watch asks this now", text)

    def test_watch(self):
        """Standing questions come and go; the ledger as a picture."""
        world = self.examined()
        added = world.ctl("watch", "add", "van", "When does a van drive past?", "--camera", "gate", "--cool-down", "5s",
                          "--days", "mon-fri", "--hours", "8-18", "--zone", "UTC", "--confidence", "0.2")
        self.assertEqual((added.returncode, added.stdout), (0, "watch van added\n"), added.stderr)
        van, = [w for w in json.loads(world.ctl("watch", "list", "--json").stdout)["watches"] if w["name"] == "van"]
        self.assertEqual((van["cameras"], van["cool_down_us"], van["hours"], van["min_confidence"], van["configured"]),
                         (["gate"], 5000000, "8-18", 0.2, False))
        self.assertEqual(world.ctl("watch", "edit", "van", "--min-duration", "2s").returncode, 0)
        listed = world.ctl("watch", "list").stdout
        self.assertIn("at least 2.0 s", listed)
        self.assertIn("cool-down 5.0 s", listed)
        self.assertEqual(world.ctl("reload").stdout, "whend.yaml was read again\n")
        self.assertEqual(world.ctl("watch", "remove", "van").returncode, 0)
        self.assertNotIn("van", world.ctl("watch", "list").stdout)
        picture = os.path.join(world.dir, "coverage.svg")
        drawn = world.ctl("coverage", "--svg", picture)
        self.assertEqual((drawn.returncode, drawn.stdout), (0, ""), drawn.stderr)
        svg = ElementTree.parse(picture).getroot()
        titles = [t.text for t in svg.iter("{http://www.w3.org/2000/svg}title")]
        self.assertTrue(any("examined" in t for t in titles), titles)
        labels = {t.text for t in svg.iter("{http://www.w3.org/2000/svg}text")}
        self.assertTrue({"gate red-car", "gate door", "gate yellow-car"} <= labels, labels)

    def test_slips(self):
        """One line, the likely name, the right exit code, nothing on standard output."""
        world = World(watches=WATCHES).start()
        self.addCleanup(world.__exit__, None)
        for code, words, args in ((EX_NOINPUT, "gate", ("ask", "x", "--camera", "gaet")),
                                  (EX_NOINPUT, "door", ("events", "--watch", "dor")),
                                  (EX_DATAERR, "committed", ("follow", "--after", "1000000")),
                                  (EX_USAGE, "--since", ("ask", "x", "--since", "yesterday")),
                                  (EX_USAGE, "--until", ("ask", "x", "--since", "2026-01-02", "--until", "2026-01-01")),
                                  (EX_USAGE, "--limit", ("events", "--limit", "-3")),
                                  (EX_USAGE, "--after", ("status", "--after", "3")),
                                  (EX_USAGE, "quotes", ("ask", "when", "did")),
                                  (EX_USAGE, "not both", ("ask", "x", "--during", "today", "--since", "2h")),
                                  (EX_DATAERR, "stretch of time", ("ask", "x", "--during", "when pigs fly")),
                                  (EX_USAGE, "watch add NAME", ("watch", "add", "dog")),
                                  (EX_USAGE, "watch edit NAME", ("watch", "edit", "door")),
                                  (EX_USAGE, "--confidence", ("watch", "add", "dog", "a dog?", "--confidence", "2")),
                                  (78, "whend.yaml", ("watch", "remove", "door")),
                                  (EX_USAGE, "verb", ("look",)),
                                  (EX_USAGE, "bytes", ("ask", "when " * 20000))):
            result = world.ctl(*args)
            self.assertEqual(result.returncode, code, (args, result.stderr))
            self.assertIn(words, one_line(result.stderr))
            self.assertEqual(result.stdout, "")
        gone = run(program("whenctl"), "--runtime-dir", world.dir, "status")
        self.assertEqual(gone.returncode, EX_UNAVAILABLE)
        self.assertIn(world.dir, one_line(gone.stderr))

    def test_follow_over_a_kill(self):
        """whenctl follow goes on after whend was killed and started again: each event once, in order."""
        with World(watches=WATCHES).start() as world:
            child = self.follow(world, "--after", "0", "--json")
            first = self.sequences(child, 2)
            os.kill(world.daemon.pid, signal.SIGKILL)
            world.daemon.wait()
            world.start()
            world.wait_examined(world.subscribe())
            last = world.status().last_sequence
            self.assertGreater(last, first[-1])
            self.assertEqual(first + self.sequences(child, last), list(range(1, last + 1)))

    def test_python_example(self):
        """follow.py in two runs: the second goes on behind the first, also when whend was killed in between."""
        with World(watches=WATCHES).start() as world:
            resume = os.path.join(world.dir, "resume.json")

            def follow(last):
                result = run(sys.executable, FOLLOW, "--runtime-dir", world.runtime, "--resume", resume, "--until-sequence",
                             str(last), timeout=harness.WAIT_S)
                self.assertEqual(result.returncode, 0, result.stderr)
                return [int(line.split()[0]) for line in result.stdout.splitlines()]
            first = follow(2)
            os.kill(world.daemon.pid, signal.SIGKILL)
            world.daemon.wait()
            world.start()
            world.wait_examined(world.subscribe())
            last = world.status().last_sequence
            self.assertEqual(first + follow(last), list(range(1, last + 1)))
            asked = run(sys.executable, FOLLOW, "--runtime-dir", world.runtime, "--ask", "when is the door open?")
            self.assertIn("the door is open", asked.stdout, asked.stderr)
            self.assertIn("examined: gate", asked.stdout)

    def test_c_example(self):
        """The client that docs/protocol.md shows receives events."""
        with World(watches=WATCHES) as world:
            os.makedirs(world.runtime, exist_ok=True)
            child = subprocess.Popen([os.path.join(harness.BUILD, "client", "protocol_example"), world.events_endpoint],
                                     stdout=subprocess.PIPE, text=True, preexec_fn=harness.die_with_parent)
            self.addCleanup(child.wait)
            self.addCleanup(child.stdout.close)
            self.addCleanup(child.kill)
            world.start()
            self.assertRegex(child.stdout.readline(), r"^[0-9]+ gate: .* from [0-9.]+ to [0-9.]+$")


if __name__ == "__main__":
    harness.main()
