"""Hundreds of reconnections under the address sanitizer: frames after each, no leak, flat memory.

    ./run prove reconnects [--short] [--count N]

Builds the camera worker with -DWHEN_ASAN=ON into build/asan. A server throws its client out again and again; every tenth
time it is killed and started anew. At the end LeakSanitizer looks at all that was not freed.
"""
import argparse
import os
import subprocess
import sys

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(SOURCE, "build")
sys.path[:0] = [os.path.join(BUILD, "tests", "python_worker"), os.path.join(SOURCE, "tests", "integration", "pipeline")]
os.environ.setdefault("WHEN_CAMERAS", os.path.join(SOURCE, "demo", "cameras"))


def build():
    asan = os.path.join(BUILD, "asan")
    if not os.path.exists(os.path.join(asan, "build.ninja")):
        subprocess.run(["cmake", "-S", SOURCE, "-B", asan, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Debug", "-DWHEN_ASAN=ON"],
                       check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", asan, "--quiet", "whend-camera"], check=True)
    return asan


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true", help="20 instead of 200")
    parser.add_argument("--count", type=int)
    args = parser.parse_args()
    count = args.count or (20 if args.short else 200)
    asan = build()
    os.environ["WHEN_BUILD"] = BUILD
    import test_sources
    import worker

    class Run(test_sources.Streams):
        def runTest(self):
            options = ("--close-after", "0.3", "--user", "eve", "--password", test_sources.SECRET, "--auth", "digest")
            server = self.server("h264", *options)
            port = int(server.url.split(":")[2].split("/")[0])
            self.hung = 0
            camera, session, memory = self.start(server), 0, []
            for n in range(1, count + 1):
                try:
                    session = camera.wait(lambda m: m.HasField("frame") and m.frame.session > session, 40).frame.session
                except AssertionError:
                    # GStreamer hung while closing; the worker ended itself, and whend would start it again.
                    self.assertEqual(camera.process.poll(), os.EX_TEMPFAIL)
                    self.hung += 1
                    camera, session = self.start(server), 0
                memory.append(resident_kib(camera.process.pid))
                camera.messages.clear()
                if n % 10 == 0:
                    server.stop()
                    server = self.server("h264", *options, port=port)
                    print(f"{n} reconnections, {memory[-1]} KiB resident", flush=True)
            self.no_secret(camera)
            camera.stop()
            self.code = camera.wait_exit(60)
            self.log = camera.log_text()
            self.memory = memory

        def start(self, server):
            camera = worker.Camera(program=os.path.join(asan, "whend-camera"))
            self.addCleanup(camera.close)
            camera.setup(url=server.url, user="eve", password=test_sources.SECRET, retry_us=100000)
            return camera

    run = Run()
    run.setUp()
    try:
        run.runTest()
    finally:
        run.doCleanups()
    leaks = run.log.count("SUMMARY: AddressSanitizer")
    half = len(run.memory) // 2
    grown = run.memory[-1] - run.memory[half]
    print(f"goal reconnects {count} {count} met")
    print(f"goal leak_reports {leaks} 0 {'met' if leaks == 0 and run.code == 0 else 'short'}")
    print(f"workers that ended themselves because GStreamer hung: {run.hung}")
    print(f"memory grown over the second half: {grown} KiB")
    if leaks or run.code:
        print(run.log[-4000:])
        sys.exit(1)


if __name__ == "__main__":
    main()
