"""A camera that dies and comes back, for ever: frames after each time, nothing left behind.

    ./run prove reconnects [--short]

First its server is killed (SIGKILL) and started anew 50 times; counted are the worker's threads, descriptors and memory.
Then it throws the worker out 200 times, with packets missing, and every tenth time it is killed; the worker is built with
-DWHEN_ASAN=ON into build/asan, and at its end LeakSanitizer looks at all that was not freed. --short: 10 and 20 times.
"""
import os
import statistics
import subprocess
import sys

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(SOURCE, "build")
ASAN = os.path.join(BUILD, "asan")
os.environ["WHEN_BUILD"] = BUILD
os.environ.setdefault("WHEN_CAMERAS", os.path.join(SOURCE, "demo", "cameras"))
sys.path[:0] = [os.path.join(BUILD, "tests", "python_worker"), os.path.join(SOURCE, "tests", "integration", "pipeline")]

import test_sources  # noqa: E402
import worker  # noqa: E402

LOGIN = ("--user", "eve", "--password", test_sources.SECRET, "--auth", "digest")
GROWTH_KIB = 1024  # of resident memory that is no leak: the heap's own ups and downs


def build():
    if not os.path.exists(os.path.join(ASAN, "build.ninja")):
        subprocess.run(["cmake", "-S", SOURCE, "-B", ASAN, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Debug", "-DWHEN_ASAN=ON"],
                       check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", ASAN, "--quiet", "whend-camera"], check=True)


def goal(name, value, bound, at_least=False):
    met = value >= bound if at_least else value <= bound
    print(f"goal {name} {value} {bound} {'met' if met else 'short'}", flush=True)
    return met


class Run(test_sources.Streams):
    def runTest(self):
        pass

    def start(self, server, program):
        camera = worker.Camera(program=os.path.join(program, "whend-camera"))
        self.addCleanup(camera.close)
        camera.setup(url=server.url, user="eve", password=test_sources.SECRET, retry_us=100000)
        return camera

    def again(self, camera, session):
        """A frame of a later session: its number."""
        return camera.wait(lambda m: m.HasField("frame") and m.frame.session > session, 40).frame.session

    def kills(self, count):
        server = self.server("h264", *LOGIN)
        port = int(server.url.split(":")[2].split("/")[0])
        camera, session, used = self.start(server, BUILD), 0, []
        for n in range(1, count + 1):
            session = self.again(camera, session)
            camera.wait(lambda m: m.HasField("frame"))
            used.append(worker.usage(camera.process.pid))
            camera.messages.clear()
            server.stop()
            camera.wait(worker.is_state("connecting", "next try"), 40)
            server = self.server("h264", *LOGIN, port=port)
            if n % 10 == 0:
                print("{} kills: {} threads, {} descriptors, {} KiB resident".format(n, *used[-1]), flush=True)
        self.again(camera, session)
        self.no_secret(camera)
        camera.stop()
        code = camera.wait_exit(60)
        part = max(count // 5, 2)
        grown = [statistics.median(after) - statistics.median(before) if i == 2 else max(after) - max(before)
                 for i, (before, after) in enumerate(zip(zip(*used[part:2 * part]), zip(*used[-part:])))]
        return all([goal("kills", len(used), count, at_least=True), goal("kills_exit_code", code, 0),
                    goal("kills_threads_grown", grown[0], 0), goal("kills_descriptors_grown", grown[1], 0),
                    goal("kills_memory_grown_kib", grown[2], GROWTH_KIB)])

    def reconnects(self, count):
        options = ("--close-after", "0.3", "--lose", "11", *LOGIN)
        server = self.server("h264", *options)
        port = int(server.url.split(":")[2].split("/")[0])
        camera, session = self.start(server, ASAN), 0
        for n in range(1, count + 1):
            session = self.again(camera, session)
            camera.messages.clear()
            if n % 10 == 0:
                server.stop()
                server = self.server("h264", *options, port=port)
                print("{} reconnections: {} threads, {} descriptors, {} KiB resident".format(
                    n, *worker.usage(camera.process.pid)), flush=True)
        self.no_secret(camera)
        camera.stop()
        code, log = camera.wait_exit(60), camera.log_text()
        leaks = log.count("SUMMARY: AddressSanitizer")
        good = all([goal("reconnects", count, count, at_least=True), goal("reconnects_leak_reports", leaks, 0),
                    goal("reconnects_exit_code", code, 0), goal("reconnects_hung", log.count("watchdog"), 0)])
        if not good:
            print(log[-4000:])
        return good


def main():
    short = "--short" in sys.argv
    build()
    good = True
    for part, count in ((Run.kills, 10 if short else 50), (Run.reconnects, 20 if short else 200)):
        run = Run()
        run.setUp()
        try:
            good &= part(run, count)
        finally:
            run.doCleanups()
    sys.exit(not good)


if __name__ == "__main__":
    main()
