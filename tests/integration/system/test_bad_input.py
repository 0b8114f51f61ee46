"""What a user can do wrong: one clear line with the remedy, the right exit code of sysexits.h, nothing left behind."""
import os
import shutil
import socket
import subprocess
import unittest

import harness
from harness import RtspServer, World, file_camera, one_line, processes, program, query_pb2, run

EX_USAGE, EX_DATAERR, EX_NOINPUT, EX_UNAVAILABLE = 64, 65, 66, 69
EX_CANTCREAT, EX_IOERR, EX_TEMPFAIL, EX_NOPERM, EX_CONFIG = 73, 74, 75, 77, 78


class BadInput(unittest.TestCase):
    def refused(self, world, code, *words, **kwargs):
        """whend with this world's config ends at once with code and one line that has all words."""
        environment = {key: value for key, value in os.environ.items() if key != "NOTIFY_SOCKET"}
        result = run(program("whend"), "--config", world.config, env=environment, **kwargs)
        errors = [line for line in result.stderr.splitlines() if line.startswith("error") or line.startswith("whend:")]
        self.assertEqual(result.returncode, code, result.stderr)
        line = one_line("\n".join(errors) or result.stderr)
        for word in words:
            self.assertIn(word, line)
        # Each of them has the folder on its command line; a whend of a test beside this one has another.
        left = [(pid, args) for pid, (_, args) in processes().items() if any(world.dir in arg for arg in args)]
        self.assertFalse(left, "processes were left behind")
        for socket_name in ("workers.ipc", "events.ipc", "query.ipc"):
            self.assertFalse(os.path.exists(os.path.join(world.runtime, socket_name)), f"{socket_name} was left behind")
        return line

    def scan(self, code, *args, words=()):
        """whenscan refuses with code and one line."""
        result = run(program("whenscan"), "--model", harness.MODEL, "--question", "When is the door open?", *args)
        self.assertEqual(result.returncode, code, result.stderr)
        line = one_line(result.stderr)
        for word in words:
            self.assertIn(word, line)
        return result

    def wait_fault(self, world, name):
        """Until that camera gives a reason; its CameraStatus."""
        subscriber = world.subscribe()

        def get():
            cameras = world.request(cameras=query_pb2.CamerasRequest())[0].cameras.cameras
            return next(c for c in cameras if c.name == name)
        subscriber.wait(lambda: get().reason, f"camera {name} has a fault")
        return get()

    # --- files ---

    def test_no_such_config(self):
        with World() as world:
            os.unlink(world.config)
            self.refused(world, EX_NOINPUT, world.config)

    def test_no_such_file(self):
        self.scan(EX_NOINPUT, "--video", "/nonexistent/film.mp4", words=("/nonexistent/film.mp4",))

    def test_not_a_video(self):
        self.scan(EX_DATAERR, "--video", os.path.join(harness.SOURCE, "LICENSE"), words=("LICENSE",))

    def truncated(self, folder, share):
        path = os.path.join(folder, "cut.mp4")
        with open(os.path.join(harness.CAMERAS, "gate.mp4"), "rb") as whole, open(path, "wb") as cut:
            data = whole.read()
            cut.write(data[:int(len(data) * share)])
        return path

    def test_truncated_video(self):
        with World() as world:
            self.scan(EX_DATAERR, "--video", self.truncated(world.dir, 0.5), words=("cut.mp4",))

    def test_empty_video(self):
        with World() as world:
            self.scan(EX_DATAERR, "--video", self.truncated(world.dir, 0), words=("cut.mp4",))

    def test_camera_file_missing(self):
        """A daemon with other cameras goes on; the missing one says why."""
        with World(cameras={"gate": file_camera("gate.mp4"), "yard": file_camera("/nonexistent/yard.mp4")}) as world:
            world.start()
            status = self.wait_fault(world, "yard")
            self.assertIn("/nonexistent/yard.mp4", status.reason)
            self.assertEqual(world.stop(), 0)

    def test_camera_not_a_video(self):
        with World(cameras={"gate": file_camera(os.path.join(harness.SOURCE, "LICENSE"))}) as world:
            world.start()
            status = self.wait_fault(world, "gate")
            self.assertEqual(status.state, "failed")
            self.assertIn("LICENSE", status.reason)
            self.assertEqual(world.stop(), 0)

    def test_no_such_camera(self):
        """A question about a camera that the config does not have names those that it has."""
        with World().start() as world:
            for command in (("ask", "--camera", "gaet", "when was it?"), ("events", "--camera", "gaet")):
                result = world.ctl(*command)
                self.assertNotEqual(result.returncode, 0, command)
                line = one_line(result.stderr)
                self.assertIn("gaet", line)
                self.assertIn("gate", line.replace("gaet", ""))
            self.assertEqual(world.stop(), 0)

    # --- cameras on the network ---

    def test_wrong_password(self):
        """The reason names camera and credential; the password is nowhere."""
        server = RtspServer(os.path.join(harness.CAMERAS, "gate.mp4"), "--user", "eve", "--password", "right-horse")
        try:
            with World(cameras={"gate": {"url": server.url, "credential": "gate"}}) as world:
                secrets = os.path.join(world.dir, "credentials")
                os.mkdir(secrets, 0o700)
                with open(os.path.join(secrets, "gate"), "w") as file:
                    file.write("eve:wrong-battery\n")
                os.chmod(os.path.join(secrets, "gate"), 0o600)
                os.environ["CREDENTIALS_DIRECTORY"] = secrets
                try:
                    world.start()
                finally:
                    del os.environ["CREDENTIALS_DIRECTORY"]
                status = self.wait_fault(world, "gate")
                self.assertRegex(status.reason.lower(), "password|credential|unauthori")
                self.assertEqual(world.stop(), 0)
                self.assertNotIn("wrong-battery", world.log() + str(status))
        finally:
            server.stop()

    def test_nothing_listens(self):
        """Nobody at the camera's address: said, and tried again."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            with World(cameras={"gate": {"url": f"rtsp://127.0.0.1:{free.getsockname()[1]}/gate"}}).start() as world:
                status = self.wait_fault(world, "gate")
                self.assertTrue(status.reason)
                self.assertEqual(world.stop(), 0)

    # --- model ---

    def damaged_model(self, folder):
        model = os.path.join(folder, "model")
        shutil.copytree(harness.MODEL, model)
        weights = next(name for name in os.listdir(model) if name.endswith(".safetensors"))
        with open(os.path.join(model, weights), "r+b") as file:
            file.truncate(os.path.getsize(file.name) // 2)
        return model, weights

    def test_damaged_model(self):
        with World() as world:
            model, weights = self.damaged_model(world.dir)
            result = run(program("whenscan"), "--model", model, "--question", "When is the door open?",
                         "--video", os.path.join(harness.CAMERAS, "gate.mp4"))
            self.assertEqual(result.returncode, EX_DATAERR, result.stderr)
            self.assertIn(weights, one_line(result.stderr))

    def test_damaged_model_in_daemon(self):
        """The daemon answers over what it has, and its status says what is wrong with the model."""
        with World() as world:
            world.model, weights = self.damaged_model(world.dir)
            world.write_config()
            world.start(ready=False)
            subscriber = world.subscribe()
            subscriber.wait(lambda: world.daemon.poll() is not None or
                            (os.path.exists(f"{world.runtime}/query.ipc") and weights in str(world.worker("analyst/0"))),
                            "the model's fault is told")
            if world.daemon.poll() is None:
                self.assertIn(world.worker("analyst/0").state, ("failed", "backing off"))
                self.assertEqual(world.stop(), 0)
            else:
                self.assertEqual(world.daemon.returncode, EX_DATAERR)
            self.assertIn(weights, world.log())

    def test_no_model(self):
        with World(model="/nonexistent/model") as world:
            result = run(program("whenscan"), "--model", world.model, "--question", "When is the door open?",
                         "--video", os.path.join(harness.CAMERAS, "gate.mp4"))
            self.assertEqual(result.returncode, EX_NOINPUT, result.stderr)
            self.assertIn("/nonexistent/model", one_line(result.stderr))

    # --- configuration ---

    def test_unknown_key(self):
        with World(extra="windwo: 16s\n") as world:
            self.refused(world, EX_CONFIG, "whend.yaml:", "windwo", "window")

    def test_no_yaml(self):
        with World() as world:
            with open(world.config, "w") as file:
                file.write("cameras: [gate\n")
            self.refused(world, EX_CONFIG, "whend.yaml:")

    # --- state ---

    def test_unwritable_state(self):
        with World() as world:
            os.mkdir(world.state)
            os.chmod(world.state, 0o555)
            kwargs = {}
            if os.getuid() == 0:
                os.chmod(world.dir, 0o755)
                kwargs = {"user": "nobody", "group": "nogroup", "extra_groups": []}
                if run("true", **kwargs).returncode != 0:
                    self.skipTest("cannot become the user nobody here")
                if run("test", "-x", program("whend"), **kwargs).returncode != 0:
                    self.skipTest("the user nobody cannot reach the build folder")
            self.refused(world, EX_CANTCREAT, world.state, **kwargs)

    def test_disk_full(self):
        """No room for an event: nothing is published that is not committed; with room again the work is done."""
        with World() as world:
            os.mkdir(world.state)
            mounted = os.getuid() == 0 and run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", world.state).returncode == 0
            if not mounted:
                self.skipTest("may not mount a small tmpfs here (needs root)")
            try:
                self.fill_and_free(world)
            finally:
                if world.daemon and world.daemon.poll() is None:
                    world.daemon.kill()
                    world.daemon.wait()
                subprocess.run(["umount", "-l", world.state], check=True)

    def fill_and_free(self, world):
        world.start()
        # At once after READY=1: the camera's worker has yet to open its file, so no window is examined before the disk is full.
        ballast = os.path.join(world.state, "ballast")
        with open(ballast, "wb", buffering=0) as file:
            try:
                while file.write(b"\0" * 4096) == 4096:
                    pass
            except OSError:
                pass
        subscriber = world.subscribe()
        subscriber.wait(lambda: subscriber.heartbeat is not None, "heartbeat")
        subscriber.wait(lambda: "full" in world.log().lower() or "no space" in world.log().lower(), "the log says that the disk is full")
        self.assertIsNone(world.daemon.poll(), "whend goes on while the disk is full")
        os.unlink(ballast)
        world.wait_examined(subscriber)
        messages, last, _ = world.replay()
        self.assertEqual([m.sequence for m in messages], list(range(1, last + 1)))
        stored = {m.sequence for m in messages}
        self.assertTrue({m.sequence for m in subscriber.messages} <= stored, "published without a commit")
        self.assertEqual(world.stop(), 0)

    def test_two_daemons(self):
        with World().start() as world, World() as second:
            second.state = world.state
            second.write_config()
            self.refused(second, EX_TEMPFAIL, world.state, str(world.daemon.pid))
            self.assertEqual(world.stop(), 0)

    # --- service ---

    def test_port_taken(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
            with World(options={"events": address}) as world:
                self.refused(world, EX_UNAVAILABLE, address)

    def test_large_question(self):
        """A question of 100 kB is refused by the client and by the service, which then goes on."""
        with World().start() as world:
            result = world.ctl("ask", "when " * 20000)
            self.assertIn(result.returncode, (EX_USAGE, EX_DATAERR))
            one_line(result.stderr)
            response = world.request(ask=query_pb2.AskRequest(question="when " * 20000))[0]
            self.assertTrue(response.HasField("error"), response)
            self.assertIn(response.error.exit_code, (EX_USAGE, EX_DATAERR))
            one_line(response.error.text)
            self.assertTrue(world.status().daemon_id)
            self.assertEqual(world.stop(), 0)

    def test_no_daemon(self):
        """whenctl where no whend runs."""
        with World() as world:
            result = world.ctl("status")
            self.assertEqual(result.returncode, EX_UNAVAILABLE, result.stderr)
            self.assertIn("query.ipc", one_line(result.stderr))


if __name__ == "__main__":
    harness.main()
