"""What the camera worker costs, as ratios to plain GStreamer within one run.

    ./run bench pipeline [--quick] [--only PART]... [--video FOLDER]

Parts: frame (colour, size and gate of a sampled 1080p picture), gate (what it leaves out of the demo cameras, and of the
files in FOLDER), live (one 1080p25 camera against gst-launch-1.0), memory (of that worker), archive (768 frames out of
an hour against decoding it), cameras (sixteen at once). Videos are made with ffmpeg and libx264 in a temporary folder.
--quick: shorter, the archive a tenth of an hour with a tenth of the frames.
"""
import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import zmq

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, "build")
os.environ.setdefault("WHEN_BUILD", BUILD)
os.environ.setdefault("WHEN_CAMERAS", os.path.join(ROOT, "demo", "cameras"))
sys.path[:0] = [os.path.join(BUILD, "tests", "python_worker"), os.path.join(ROOT, "tests", "integration", "pipeline")]

from machine import facts, goal, ticks  # noqa: E402
from worker import Camera, Server  # noqa: E402

CAMERAS = os.environ["WHEN_CAMERAS"]
PARTS = ["frame", "gate", "live", "memory", "archive", "cameras"]
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def encode(path, size, seconds, rate="4M", loop=0):
    """A camera's picture: moving test pattern with noise, 25 pictures a second, a key frame every two seconds."""
    part = path + ".part.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i",
                    f"testsrc2=size={size}:rate=25,noise=alls=6:allf=t,format=yuv420p", "-t", str(seconds), "-c:v",
                    "libx264", "-preset", "veryfast", "-g", "50", "-keyint_min", "50", "-sc_threshold", "0", "-bf", "0",
                    "-b:v", rate, part], check=True)
    if loop:
        subprocess.run(["ffmpeg", "-v", "error", "-y", "-stream_loop", str(loop - 1), "-i", part, "-c", "copy", path],
                       check=True)
        os.unlink(part)
    else:
        os.rename(part, path)
    return path


def cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def memory_mb(pid):
    """Resident memory that belongs to this process: private, and its share of what is shared."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def launch(url, decoder):
    """The shortest way to decode a stream with GStreamer; without a decoder: to receive it."""
    elements = ["rtspsrc", f"location={url}", "protocols=tcp", "latency=200", "!", "rtph264depay", "!"]
    elements += (["decodebin"] if decoder else ["h264parse"]) + ["!", "fakesink", "sync=false"]
    return subprocess.Popen(["gst-launch-1.0", "-q", *elements], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def stop(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def drain(camera, seconds):
    """Reads what the camera sends for so long."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        camera.receive(min(left, 0.2))


def bench_frame(_):
    output = subprocess.run([os.path.join(BUILD, "bench", "pipeline_frame")], check=True, capture_output=True,
                            text=True).stdout
    for line in output.splitlines():
        _, name, median, least, allocated = line.split()
        print(f"frame    {name:16} {float(median):6.2f} ms of CPU (best {float(least):.2f}), {allocated} allocations")
        if name == "gate+resize+rgb":
            goal("pipeline_frame_ms", float(median), 6, at_least=False)
            goal("pipeline_frame_allocations", float(allocated), 0, at_least=False)


def look(path, fps, sensitivity):
    """[(seconds, cells, kept, changed)] of each frame that the gate lets through, and how many it left out."""
    output = subprocess.run([os.path.join(BUILD, "bench", "pipeline_read"), path, str(fps), str(sensitivity)],
                            check=True, capture_output=True, text=True).stdout.splitlines()
    frames = [tuple(float(x) for x in line.split()[1:]) for line in output if line.startswith("picture ")]
    return frames, int(output[-1].split()[3])


def bench_gate(args):
    lost = boundaries = 0
    for name in ("gate", "yard"):
        path = os.path.join(CAMERAS, name + ".mp4")
        with open(os.path.join(CAMERAS, name + ".truth.json"), encoding="utf-8") as file:
            truth = json.load(file)
        for fps in (2, 4):
            frames, still = look(path, fps, 1)
            report(name + ".mp4", fps, frames, still)
            changed = [f[0] for f in frames if f[3] > 0]
            for event in truth:
                for second in (event["start_seconds"], event["end_seconds"]):
                    if second <= 0 or second >= frames[-1][0]:
                        continue  # cut by the file's own ends
                    boundaries += 1
                    lost += not any(abs(t - second) <= 1 / fps for t in changed)
    print(f"gate     {boundaries} begins and ends of events, {lost} without a changed cell within one frame")
    goal("pipeline_gate_events_lost", lost, 0, at_least=False)
    if args.video and os.path.isdir(args.video):
        for name in sorted(os.listdir(args.video)):
            if name.endswith((".mp4", ".avi", ".mkv")):
                for fps in (2, 4):
                    frames, still = look(os.path.join(args.video, name), fps, 1)
                    report(name, fps, frames, still)


def report(name, fps, frames, still):
    cells = sum(f[1] for f in frames) + still * frames[0][1]
    kept, changed = sum(f[2] for f in frames), sum(f[3] for f in frames)
    print(f"gate     {name} at {fps} fps: {still} of {len(frames) + still} frames left out, {1 - kept / cells:.0%} of the "
          f"cells not kept ({1 - changed / cells:.0%} without the refresh every 2 s)")


def bench_live(args):
    """The worker and gst-launch decode the same stream at the same time."""
    server = Server(encode(os.path.join(args.folder, "live.mp4"), "1920x1080", 10, loop=12))
    ratios, runs, seconds = [], 3 if args.quick else 5, 8 if args.quick else 12
    camera = Camera("camera/live/1")
    camera.setup(url=server.url, fps_min=2, fps_base=2, fps_max=2, min_pixels=3136, max_pixels=448 * 252,
                 stall_us=20000000)
    plain = launch(server.url, True)
    try:
        camera.wait(lambda m: m.HasField("frame"))
        drain(camera, 3)
        for _ in range(runs):
            stolen, total = ticks()
            a, b = cpu_s(camera.process.pid), cpu_s(plain.pid)
            drain(camera, seconds)
            a, b = cpu_s(camera.process.pid) - a, cpu_s(plain.pid) - b
            steal = (ticks()[0] - stolen) / max(ticks()[1] - total, 1)
            slow = camera.health.fps_in < 24
            print(f"live     worker {a / seconds:.3f}, gst-launch {b / seconds:.3f} cores, {a / b:.3f} "
                  f"(steal {steal:.0%}{', disturbed: pictures are late' if slow else ''})")
            if not slow:
                ratios.append(a / b)
        health = camera.health
        print(f"live     fps in {health.fps_in:.1f}, out {health.fps_out:.1f}, dropped {health.dropped}")
        if ratios:
            goal("pipeline_live_cpu_ratio", statistics.median(ratios), 1.10, at_least=False)
        else:
            print("live     no run counts: the machine is busy")
        if "memory" in args.parts:
            bench_memory(camera, plain, server.url)
    finally:
        stop(plain)
        camera.close()
        server.stop()


def bench_memory(camera, plain, url):
    receiving = launch(url, False)
    drain(camera, 4)
    worker, decode, receive = (memory_mb(p.pid) for p in (camera.process, plain, receiving))
    stop(receiving)
    print(f"memory   worker {worker:.0f} MB; gst-launch {decode:.0f} MB with the decoder, {receive:.0f} MB without")
    goal("pipeline_worker_mb", worker - max(decode - receive, 0), 60, at_least=False)


def bench_archive(args):
    minutes = 6 if args.quick else 60
    frames = 768 * minutes // 60
    path = encode(os.path.join(args.folder, "hour.mp4"), "1920x1080", 20, loop=minutes * 3)
    size = os.path.getsize(path) / 1e6
    begin = time.monotonic()
    subprocess.run(["gst-launch-1.0", "-q", "filesrc", f"location={path}", "!", "decodebin", "!", "fakesink",
                    "sync=false"], check=True, stdout=subprocess.DEVNULL)
    whole = time.monotonic() - begin
    read = subprocess.run([os.path.join(BUILD, "bench", "pipeline_read"), path, str(frames / (minutes * 60))],
                          check=True, capture_output=True, text=True).stdout.split()
    sampled = float(read[4])
    print(f"archive  {minutes} min, {size:.0f} MB: decoded in {whole:.1f} s; {read[1]} frames sampled in {sampled:.2f} s, "
          f"{read[2]} pictures decoded")
    goal("pipeline_archive_ratio", sampled / whole, 0.1, at_least=False)
    os.unlink(path)


def bench_cameras(args):
    """Sixteen workers at five frames a second: each frame arrives, or is counted as dropped."""
    server = Server(encode(os.path.join(args.folder, "small.mp4"), "640x360", 10, rate="800k", loop=12))
    seconds, n = 12 if args.quick else 30, 16
    cameras = [Camera(f"camera/c{i}/1") for i in range(n)]
    try:
        for camera in cameras:
            camera.setup(url=server.url, fps_min=5, fps_base=5, fps_max=5, min_pixels=3136, max_pixels=448 * 252,
                         stall_us=20000000)
        for camera in cameras:
            camera.wait(lambda m: m.HasField("frame"), 60)
        poller = zmq.Poller()
        for camera in cameras:
            camera.messages.clear()
            poller.register(camera.socket, zmq.POLLIN)
        before = [cpu_s(c.process.pid) for c in cameras]
        begin = time.monotonic()
        while time.monotonic() < begin + seconds:
            for socket, _ in poller.poll(200):
                next(c for c in cameras if c.socket is socket).receive(0)
        behind = max(time.time() - c.of("frame")[-1].utc_us / 1e6 for c in cameras)
        cores = sum(cpu_s(c.process.pid) - b for c, b in zip(cameras, before)) / (time.monotonic() - begin)
        uncounted = missing = frames = 0
        for camera in cameras:
            pts = [f.pts_us for f in camera.of("frame")]
            gone = sum(round((b - a) / 200000) - 1 for a, b in zip(pts, pts[1:]))
            frames += len(pts)
            missing += gone
            uncounted += max(gone - camera.health.dropped, 0)
        memory = statistics.median(memory_mb(c.process.pid) for c in cameras)
        print(f"cameras  {n} at 640x360: {cores:.2f} cores, {frames} frames, {missing} missing, {uncounted} of them not "
              f"counted, the oldest newest frame {behind:.2f} s old, {memory:.0f} MB each")
        goal("pipeline_uncounted_drops", uncounted, 0, at_least=False)
        goal("pipeline_sixteen_behind_s", behind, 1, at_least=False)
    finally:
        for camera in cameras:
            camera.close()
        server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", action="append", choices=PARTS, dest="parts")
    parser.add_argument("--video", help="folder with more videos for the gate")
    args = parser.parse_args()
    args.parts = args.parts or PARTS
    if shutil.which("ffmpeg") is None or shutil.which("gst-launch-1.0") is None:
        sys.exit("bench: needs ffmpeg and gst-launch-1.0 (apt-get install ffmpeg gstreamer1.0-tools)")
    for line in facts():
        print(line)
    with tempfile.TemporaryDirectory(prefix="when-bench-") as folder:
        args.folder = folder
        for part in PARTS:
            if part in args.parts and part != "memory":
                globals()["bench_" + part](args)
            elif part == "memory" and part in args.parts and "live" not in args.parts:
                args.parts = [*args.parts, "live"]
                bench_live(args)


if __name__ == "__main__":
    main()
