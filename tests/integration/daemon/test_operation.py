"""whend as a service: metrics, health, backups, clients from elsewhere, forgetting, who may connect, nonsense from strangers."""
import grp
import os
import random
import re
import socket
import sqlite3
import stat
import subprocess
import unittest
import urllib.error
import urllib.request

import zmq

from world import BUILD, HERE, S, UTC, World, query_pb2

CAR = "When does a car drive past?"


def utc(*seconds):
    return tuple(UTC + int(s * S) for s in seconds)


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def parse_metrics(text):
    """{(name, labels): value}; fails on anything that Prometheus' text format 0.0.4 does not allow, or promtool would mark."""
    samples, families, current = {}, {}, None
    assert text.endswith("\n"), "the last line has no end"
    for line in text.splitlines():
        if line.startswith("# HELP "):
            _, _, name, words = line.split(" ", 3)
            assert name not in families, f"{name}: twice"
            assert words and words[-1] == ".", line
            families[name], current = None, name
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == current and families[name] is None, f"TYPE without its HELP before it: {line}"
            assert kind in ("counter", "gauge"), line
            assert name.endswith("_total") == (kind == "counter"), f"{name} is a {kind}"
            families[name] = kind
        else:
            match = re.fullmatch(r'([a-z][a-z0-9_]*)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)+)\})? (\S+)', line)
            assert match, f"not a sample: {line}"
            assert match[1] == current and families[current], f"outside of its family: {line}"
            key = (match[1], match[2] or "")
            assert key not in samples, f"twice: {line}"
            samples[key] = float(match[3])
    return samples


class TestOperation(unittest.TestCase):
    def setUp(self):
        self.world = World()

    def tearDown(self):
        failed = any(error for _, error in self._outcome.result.errors + self._outcome.result.failures) \
            if hasattr(self._outcome, "result") else True
        self.world.close(keep=failed)

    def ctl(self, *args, endpoint=None, code=0):
        """whenctl's standard output."""
        result = subprocess.run([os.path.join(BUILD, "whenctl"), "--endpoint", endpoint or self.world.query_endpoint(), *args],
                                capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        self.assertEqual(result.returncode, code, result.stderr)
        if code:
            self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        return result.stderr if code else result.stdout

    def start_file(self):
        w = self.world
        w.file_camera("yard")
        w.start()
        return w.wait_camera("camera/yard")

    def cars(self, camera, n, start=0):
        """n events of 6 s, each in 12 s."""
        self.world.truth[CAR] = [utc(12 * i + 2, 12 * i + 6) for i in range(start, start + n)]
        camera.frames(12 * start, 12 * (start + n))

    def finish(self, camera, duration):
        camera.order("end", duration_s=float(duration))
        self.world.wait(lambda: "yard" in self.world.progress and self.world.progress["yard"].done == 1.0, "finished")

    def get(self, path, port, method="GET"):
        """Status code and text; whend's loop answers while the world is pumped by nobody: it needs no help."""
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.headers, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read().decode()

    # --- metrics and health ---

    def test_http(self):
        w = self.world
        port, = free_ports(1)
        w.options["http"] = f"{{address: 127.0.0.1:{port}}}"
        w.cameras["gate"] = {"url": "rtsp://127.0.0.1:9/gate", "record": "false"}
        w.file_camera("yard")
        w.start(load=False)
        code, _, text = self.get("/healthz", port)
        self.assertEqual(code, 503)
        self.assertIn("analyst/0: ", text)
        self.assertIn("camera gate: ", text)
        w.wait(lambda: w.worker("analyst/0") and w.worker("analyst/0").count("setup"), "analyst")
        w.worker("analyst/0").order("loaded")
        gate, yard = w.wait_camera("camera/gate"), w.wait_camera("camera/yard")
        for camera in (gate, yard):
            camera.order("health", state="running", utc_source=1, fps_out=2.0, fps_in=25.0)
        gate.frames(0, 18)
        w.wait(lambda: w.ledger("gate"), "ledger")
        w.wait(lambda: w.camera_status("yard").state == "running", "yard")
        self.assertEqual(self.get("/healthz", port)[::2], (200, "ok\n"))
        code, headers, text = self.get("/metrics", port)
        self.assertEqual(code, 200)
        self.assertEqual(headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")
        metrics = parse_metrics(text)
        self.assertEqual(metrics["whend_camera_frames_total", 'camera="gate"'], 36)
        self.assertEqual(metrics["whend_camera_up", 'camera="gate"'], 1)
        self.assertEqual(metrics["whend_worker_restarts_total", 'worker="analyst/0"'], 0)
        self.assertEqual(metrics["whend_event_revisions_total", ""], w.status().last_sequence)
        self.assertEqual(metrics["whend_model_loaded", ""], 1)
        self.assertGreater(metrics["whend_windows_examined_total", ""], 0)
        # A camera goes dark, the analyst dies and cannot be started: each has its line.
        gate.order("health", state="stalled", reason='no data for 10 s \\ "x"')
        w.wait(lambda: w.camera_status("gate").state == "stalled", "stalled")
        w.worker("analyst/0").kill()
        w.wait(lambda: w.worker_status("analyst/0").state != "running" or w.incarnations("analyst/0") == 2, "analyst dead")
        code, _, text = self.get("/healthz", port)
        self.assertEqual(code, 503)
        self.assertIn('camera gate: stalled: no data for 10 s \\ "x"\n', text)
        self.assertIn("analyst/0: ", text)
        self.assertEqual(parse_metrics(self.get("/metrics", port)[2])["whend_camera_up", 'camera="gate"'], 0)
        # What is not there, and what is not meant to be done.
        self.assertEqual(self.get("/", port)[0], 404)
        self.assertEqual(self.get("/metrics", port, method="POST")[0], 405)
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(b"\xff\x00 nonsense\r\n" * 3000)
            self.assertEqual(self.get("/metrics", port)[0], 200)
        # One that connects and says nothing stops neither the loop nor the next.
        with socket.create_connection(("127.0.0.1", port)):
            self.assertEqual(self.get("/metrics", port)[0], 200)
            self.assertTrue(w.status().daemon_id)

    def test_http_events_cannot_be_stored(self):
        w = self.world
        port, = free_ports(1)
        w.options["http"] = f"{{address: 127.0.0.1:{port}}}"
        w.truth[CAR] = [utc(4, 8)]
        w.auto = False
        camera = self.start_file()
        camera.frames(0, 20)
        w.wait(lambda: w.jobs, "job")
        w.limit_files(0)
        for job in w.jobs:
            w.answer(job)
        w.wait_notified("cannot store events")
        code, _, text = self.get("/healthz", port)
        self.assertEqual(code, 503)
        self.assertIn("index: events cannot be stored: ", text)
        self.assertEqual(parse_metrics(self.get("/metrics", port)[2])["whend_commits_blocked", ""], 1)

    def test_http_address_taken(self):
        w = self.world
        w.file_camera("yard")
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            w.options["http"] = f"{{address: 127.0.0.1:{other.getsockname()[1]}}}"
            w.write_config()
            result = w.run_to_end()
        self.assertEqual(result.returncode, 69, result.stderr)
        self.assertIn("http.address: 127.0.0.1:", result.stderr)

    # --- backup ---

    def test_backup(self):
        """Taken while events are committed; it opens, is whole, and a whend goes on from it."""
        w = self.world
        camera = self.start_file()
        self.cars(camera, 5)
        path = os.path.join(w.dir, "copy.sqlite")
        said = self.ctl("backup", path)
        self.assertIn("copy.sqlite", said)
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.finish(camera, 60)
        again = self.ctl("--json", "backup", path)  # over the older one
        replayed, last = w.replay()
        self.assertIn(f'"last_sequence":{last}', again)
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        self.assertEqual(db.execute("PRAGMA integrity_check").fetchone(), ("ok",))
        self.assertEqual(db.execute("SELECT count(*), max(sequence) FROM revisions").fetchone(), (last, last))
        db.close()
        self.assertEqual(sorted(os.listdir(w.dir + "/state")), ["index.sqlite", "index.sqlite-shm", "index.sqlite-wal",
                                                                "lock", "workers"])
        w.stop()
        for name in ("index.sqlite-wal", "index.sqlite-shm"):
            if os.path.exists(f"{w.dir}/state/{name}"):
                os.unlink(f"{w.dir}/state/{name}")
        os.rename(path, w.dir + "/state/index.sqlite")
        w.start()
        self.assertEqual(w.replay(), (replayed, last))
        # Where nothing can be written, one line says so and nothing is left.
        self.assertIn("/nowhere/x.part", self.ctl("backup", "/nowhere/x", code=73))

    def test_backup_not_fetched(self):
        """A client that begins one and goes away holds up nobody for long: nothing of it is on disk, and pieces have a bound."""
        w = self.world
        self.start_file()
        first = w.ask(backup=query_pb2.BackupRequest())[-1].backup
        self.assertGreater(first.total_bytes, 0)
        self.assertEqual(w.ask(backup=query_pb2.BackupRequest())[-1].error.exit_code, 75)
        piece = w.ask(backup=query_pb2.BackupRequest(backup_id=first.backup_id, offset=0))[0].backup
        self.assertEqual(piece.data[:15], b"SQLite format 3")
        self.assertLessEqual(len(piece.data), 512 << 10)
        self.assertEqual(w.ask(backup=query_pb2.BackupRequest(backup_id=7, offset=0))[0].error.exit_code, 66)
        self.assertFalse(os.path.exists(w.dir + "/state/backup.tmp"))
        end = w.ask(backup=query_pb2.BackupRequest(backup_id=first.backup_id, offset=first.total_bytes))[0].backup
        self.assertEqual(end.data, b"")
        self.assertEqual(w.ask(backup=query_pb2.BackupRequest(backup_id=first.backup_id))[0].error.exit_code, 66)

    # --- the index for others ---

    def test_sqlite3_reads_it(self):
        """What docs/index.md shows to readers of the file works in the sqlite3 shell, while whend runs."""
        w = self.world
        w.watches["red-car"] = CAR
        w.truth[CAR] = [utc(4, 8), utc(20, 23)]
        camera = self.start_file()
        camera.frames(0, 40)
        self.finish(camera, 40)

        def shell(sql, code=0):
            result = subprocess.run(["sqlite3", "-readonly", "-batch", f"{w.dir}/state/index.sqlite", sql],
                                    capture_output=True, text=True)
            self.assertEqual(result.returncode, code, (sql, result.stderr))
            return result.stdout

        with open(os.path.join(HERE, "..", "..", "..", "docs", "index.md")) as file:
            blocks = re.findall(r"\n\n((?:    .*\n)+)", file.read())
        shown = [re.sub(r"^ *sqlite3 .*? \"(.*)\"\s*$", r"\1", block, flags=re.S) for block in blocks]
        shown = [sql.replace("'gate'", "'yard'").replace("2026-11-23T08", "2026-01-05T06").replace("2026-11-23T09", "2026-01-05T07")
                 for sql in shown]
        self.assertGreaterEqual(len(shown), 4)
        for sql in shown:
            self.assertTrue(shell(sql), sql)
        self.assertEqual(shell("SELECT day, examined_s, waiting_s, lost_s FROM coverage_by_day WHERE watch = 'red-car'"),
                         "2026-01-05|40.0|0.0|0.0\n")
        self.assertEqual(shell("SELECT start_utc, end_utc, state, watch FROM events_utc WHERE watch = 'red-car' LIMIT 1"),
                         "2026-01-05T06:30:04.000Z|2026-01-05T06:30:08.000Z|final|red-car\n")
        # The full text is over descriptions and names of watches.
        count = "SELECT count(*) FROM event_text WHERE event_text MATCH "
        self.assertEqual((shell(count + "'driving'"), shell(count + "'red'")), ("4\n", "2\n"))
        shell("DELETE FROM events", code=8)
        self.assertEqual(w.status().last_sequence, int(shell("SELECT last_sequence FROM daemon")))

    # --- forgetting ---

    def test_forget(self):
        w = self.world
        w.options["events"] = "{keep_count: 3}"
        camera = self.start_file()
        self.cars(camera, 8)
        self.finish(camera, 96)
        last = w.status().last_sequence
        w.stop()
        w.start()  # what is too much goes at the start, and once a minute
        w.wait(lambda: len(w.ask(events=query_pb2.EventsRequest())[0].events.events) == 3, "three events")
        responses = w.ask(replay=query_pb2.ReplayRequest())
        messages = [m for r in responses for m in r.replay.messages]
        forgotten = responses[-1].replay.forgotten_sequence
        self.assertEqual([m.sequence for m in messages], list(range(forgotten + 1, last + 1)))
        self.assertGreater(forgotten, 0)
        # Nothing is claimed of the time that the forgotten ones were in; clients go on behind them.
        spans = w.ledger("yard")
        self.assertEqual([s[2:] for s in spans], [(3, "forgotten"), (2, "")])
        self.assertEqual(spans[0][0], 0)
        follow = subprocess.Popen([os.path.join(BUILD, "whenctl"), "--endpoint", w.query_endpoint(), "--json", "follow",
                                   "--after", "0"], stdout=subprocess.PIPE, text=True)
        self.assertIn(f'"sequence":{forgotten + 1}', follow.stdout.readline().replace(" ", ""))
        follow.kill()
        follow.wait()
        follow.stdout.close()
        # New events get new numbers.
        ids = {m.event.id for m in w.messages}
        w.stop()
        w.start()
        self.assertEqual(w.status().last_sequence, last)
        self.assertTrue(ids)

    # --- who may connect ---

    def test_socket_mode_and_group(self):
        w = self.world
        group = grp.getgrgid(os.getgid()).gr_name
        w.options["endpoints"] = f"{{mode: 0600, group: {group}}}"
        self.start_file()
        for name in ("events.ipc", "query.ipc", "workers.ipc"):
            self.assertEqual(stat.S_IMODE(os.stat(f"{w.dir}/run/{name}").st_mode), 0o600)
        w.stop()
        w.options["endpoints"] = "{mode: 0660}"
        w.start()
        self.assertEqual(stat.S_IMODE(os.stat(f"{w.dir}/run/query.ipc").st_mode), 0o660)
        self.assertEqual(stat.S_IMODE(os.stat(f"{w.dir}/run/workers.ipc").st_mode), 0o600)
        w.stop()
        w.options["endpoints"] = "{group: no-such-group}"
        w.write_config()
        result = w.run_to_end()
        self.assertEqual(result.returncode, 78, result.stderr)
        self.assertIn("no-such-group", result.stderr)

    def test_remote(self):
        """Over TCP only with an allowed key; revoked, it ends at once, for what is asked and for what is published."""
        w = self.world
        query, events = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
        w.options["remote"] = f"{{query: \"{query}\", events: \"{events}\"}}"
        camera = self.start_file()
        self.cars(camera, 1)
        self.assertEqual(stat.S_IMODE(os.stat(w.dir + "/state/server.key").st_mode), 0o600)
        server = next(line.split()[-1] for line in self.ctl("key", "list").splitlines() if line.startswith("server key"))
        files = {name: os.path.join(w.dir, name + ".key") for name in ("alice", "bob")}
        public = {name: self.ctl("key", "new", path, "--server-key", server).strip() for name, path in files.items()}

        def remote(name, *args, code=0):
            return self.ctl("--key", files[name], "--events", events, *args, endpoint=query, code=code)

        # Nobody is allowed yet; a client without a key is not even heard.
        self.assertIn(public["alice"], remote("alice", "status", code=69))
        self.ctl("status", endpoint=query, code=69)
        self.ctl("key", "allow", "alice", public["alice"])
        self.ctl("key", "allow", "bob", public["bob"])
        self.assertIn("bob", self.ctl("key", "list"))
        self.assertIn("already", self.ctl("key", "allow", "carol", public["bob"], code=65))
        self.assertIn("not a public key", self.ctl("key", "allow", "dave", "x" * 39, code=65))
        self.assertIn(w.status().daemon_id, remote("alice", "status"))
        self.assertIn("whend's own machine", remote("alice", "key", "list", code=77))
        # They hear what is published ...
        socket_of = {}
        for name, path in files.items():
            with open(path) as file:
                keys = dict(line.split() for line in file)
            subscriber = socket_of[name] = w.context.socket(zmq.SUB)
            subscriber.curve_serverkey, subscriber.curve_publickey, subscriber.curve_secretkey = (
                keys[k].encode() for k in ("server", "public", "secret"))
            subscriber.setsockopt(zmq.LINGER, 0)
            subscriber.setsockopt(zmq.SUBSCRIBE, b"heartbeat")
            subscriber.connect(events)
            self.assertTrue(subscriber.poll(30000))
        # ... and bob asks on a connection that stays.
        client = w.context.socket(zmq.DEALER)
        with open(files["bob"]) as file:
            keys = dict(line.split() for line in file)
        client.curve_serverkey, client.curve_publickey, client.curve_secretkey = (
            keys[k].encode() for k in ("server", "public", "secret"))
        client.setsockopt(zmq.LINGER, 0)
        client.connect(query)
        request = query_pb2.Request(version=1, request_id=3, status=query_pb2.StatusRequest()).SerializeToString()

        def ask():
            client.send(request)
            self.assertTrue(client.poll(30000))
            return query_pb2.Response.FromString(client.recv())

        self.assertTrue(ask().HasField("status"))
        self.ctl("key", "revoke", "bob")
        self.assertEqual(ask().error.exit_code, 77)
        while socket_of["bob"].poll(0):  # what was on its way
            socket_of["bob"].recv_multipart()
        for _ in range(2):
            n = 0
            while n < 3:  # three heartbeats that alice hears
                self.assertTrue(socket_of["alice"].poll(30000))
                socket_of["alice"].recv_multipart()
                n += 1
        self.assertFalse(socket_of["bob"].poll(0), "a revoked key still hears what is published")
        remote("bob", "status", code=69)
        self.assertIn("no key of bob", self.ctl("key", "revoke", "bob", code=66))
        # The list outlives a restart; a new key under an old name gives the old one nothing.
        w.stop()
        w.start()
        self.assertIn("alice", self.ctl("key", "list"))
        self.assertNotIn("bob", self.ctl("key", "list"))
        self.assertIn(w.status().daemon_id, remote("alice", "status"))
        for s in (client, *socket_of.values()):
            s.close()

    def test_remote_key_open_to_others(self):
        w = self.world
        w.options["remote"] = "{query: \"tcp://127.0.0.1:%d\"}" % free_ports(1)[0]
        self.start_file()
        w.stop()
        os.chmod(w.dir + "/state/server.key", 0o640)
        result = w.run_to_end()
        self.assertEqual(result.returncode, 77, result.stderr)
        self.assertIn("server.key", result.stderr)

    # --- nonsense ---

    def nonsense(self, n):
        """n damaged messages on the query socket, and then a good one that is answered: {kind: how many}."""
        w, rng = self.world, random.Random(5)
        self.start_file()
        good = query_pb2.Request(version=1, request_id=9, ask=query_pb2.AskRequest(
            question=CAR, since_us=UTC, cameras=["yard"])).SerializeToString()
        client = w.context.socket(zmq.DEALER)
        client.setsockopt(zmq.LINGER, 0)
        client.setsockopt(zmq.SNDHWM, 0)
        client.setsockopt(zmq.RCVHWM, 0)
        client.connect(w.query_endpoint())
        answered = refused = 0
        for i in range(n):
            kind = i % 5
            if kind == 0:
                parts = [rng.randbytes(rng.randrange(0, 200))]
            elif kind == 1:
                damaged = bytearray(good)
                damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
                parts = [bytes(damaged)]
            elif kind == 2:
                parts = [good[:rng.randrange(len(good))]]
            elif kind == 3:
                parts = [rng.randbytes(8) for _ in range(rng.randrange(2, 6))]
            else:
                parts = [b""]
            client.send_multipart(parts)
            while client.poll(0):  # each gets an answer of some kind
                response = query_pb2.Response.FromString(client.recv())
                refused += response.error.exit_code == 76
                answered += 1
        client.send(query_pb2.Request(version=1, request_id=10, status=query_pb2.StatusRequest()).SerializeToString())
        response = None
        while response is None or response.request_id != 10:
            self.assertTrue(client.poll(60000), "the good message is not answered")
            response = query_pb2.Response.FromString(client.recv())
            refused += response.request_id != 10 and response.error.exit_code == 76
            answered += 1
        client.close()
        self.assertEqual(response.status.bad_messages, refused)
        self.assertGreaterEqual(answered, n * 0.99)
        self.assertGreater(refused, n * 0.5)
        return refused

    def test_malformed_messages(self):
        self.nonsense(int(os.environ.get("WHEN_MALFORMED", "30000")))


if __name__ == "__main__":
    unittest.main()
