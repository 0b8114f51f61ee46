"""The rendered world: a fixed camera that looks at a street, and what truly happens in it.

A Scene is drawn from a seed: wall, pavement, road, a door, a lamp, windows, and a timetable of events. It is drawn at
any size from the same description (the world's unit is one pixel of 112 x 56), so a clip for training at 112 x 56 and a
camera of 448 x 224 show the same kind of world.

When an event starts and ends, for every type, is what a careful viewer could see:
  cars, person, dog   the middle of the object crosses the edge of the picture (so half of it is visible)
  lamp, door          half bright, half open: both change evenly over 1.2 to 2.2 s around that moment
Events of one type never overlap; two cars overlap in time only on different lanes.

    render.py cameras OUTDIR      gate.mp4, yard.mp4 and their NAME.truth.json
    render.py clips OUTDIR N      N training clips in numbered .npz shards (frames, times, events, boxes)
"""
import json
import os
import subprocess
import sys

import numpy as np

WIDTH, HEIGHT = 112, 56
TYPES = ["red car", "blue car", "white car", "yellow car", "person", "dog", "lamp", "door"]
DESCRIPTIONS = ["a red car drives past", "a blue car drives past", "a white car drives past",
                "a yellow car drives past", "a person walks by", "a dog runs past", "the lamp is on",
                "the door is open"]
CAR_COLORS = [(200, 28, 28), (32, 62, 200), (232, 234, 232), (244, 200, 28)]
# Seconds that an event of each type lasts: shortest, longest.
DURATIONS = [(2.5, 7.0)] * 4 + [(4.5, 10.0), (3.0, 6.5), (3.0, 10.0), (3.0, 9.0)]
LAMP, DOOR = 6, 7


def smooth_noise(rng, shape, cell):
    """Noise of one value a cell, repeated: blocks as they stay behind after coarse compression."""
    h, w = shape
    coarse = rng.standard_normal((h // cell + 1, w // cell + 1)).astype(np.float32)
    return np.repeat(np.repeat(coarse, cell, 0), cell, 1)[:h, :w]


def area_downscale(picture, width, height):
    """Mean over whole source pixels; the last axis is colour."""
    h, w = picture.shape[-3:-1]
    shape = picture.shape[:-3] + (height, h // height, width, w // width, picture.shape[-1])
    return picture.reshape(shape).mean(axis=(-4, -2))


class Canvas:
    """Pictures of one size with antialiased rectangles and discs in world units."""

    def __init__(self, background, scale):
        self.picture = background.copy()
        self.scale = scale
        self.height, self.width = background.shape[:2]

    def rect(self, x0, y0, x1, y1, color, alpha=1.0):
        s = self.scale
        x0, x1, y0, y1 = x0 * s, x1 * s, y0 * s, y1 * s
        a, b = max(int(np.floor(x0)), 0), min(int(np.ceil(x1)), self.width)
        c, d = max(int(np.floor(y0)), 0), min(int(np.ceil(y1)), self.height)
        if a >= b or c >= d:
            return
        i, j = np.arange(a, b), np.arange(c, d)
        cover_x = np.minimum(x1, i + 1) - np.maximum(x0, i)
        cover_y = np.minimum(y1, j + 1) - np.maximum(y0, j)
        cover = (alpha * cover_y[:, None] * cover_x)[:, :, None].astype(np.float32)
        part = self.picture[c:d, a:b]
        part += cover * (np.asarray(color, np.float32) - part)

    def disc(self, x, y, radius, color, alpha=1.0, soft=0.0, add=False):
        """soft > 0 fades from the middle to the rim, for a glow."""
        s = self.scale
        x, y, radius = x * s, y * s, radius * s
        a, b = max(int(x - radius - 1), 0), min(int(x + radius + 2), self.width)
        c, d = max(int(y - radius - 1), 0), min(int(y + radius + 2), self.height)
        if a >= b or c >= d:
            return
        dx, dy = np.arange(a, b) + 0.5 - x, np.arange(c, d) + 0.5 - y
        distance = np.sqrt(dy[:, None] ** 2 + dx ** 2)
        cover = np.clip((radius - distance) / soft / s if soft else radius - distance + 0.5, 0, 1)
        cover = (alpha * cover)[:, :, None].astype(np.float32)
        part = self.picture[c:d, a:b]
        part += cover * (np.asarray(color, np.float32) - (0 if add else part))


class Event:
    """One event: type, start and end in seconds, and how it looks."""

    def __init__(self, kind, start, end, look):
        self.kind, self.start, self.end, self.look = kind, float(start), float(end), look


def random_look(rng, kind, lane=None):
    """The parts of an event's appearance that do not depend on time."""
    look = {"leftward": bool(rng.random() < 0.5)}
    if kind < 4:
        lane = int(rng.integers(2)) if lane is None else lane
        size = rng.uniform(0.88, 1.12) * (0.92 if lane == 0 else 1.08)
        color = np.array(CAR_COLORS[kind]) + rng.integers(-14, 15, 3) + rng.integers(-14, 15)
        look.update(lane=lane, length=rng.uniform(21, 26) * size, height=rng.uniform(9, 10.5) * size,
                    color=np.clip(color, 0, 255), van=bool(rng.random() < 0.25))
    elif kind == 4:
        shirts = [(25, 25, 30), (240, 140, 40), (40, 140, 70), (130, 60, 140), (90, 150, 190), (200, 190, 170)]
        look.update(height=rng.uniform(16, 19), width=rng.uniform(4.6, 5.8), shirt=shirts[rng.integers(len(shirts))],
                    trousers=(rng.integers(20, 70), rng.integers(20, 60), rng.integers(40, 90)),
                    foot=rng.uniform(0.2, 0.8), step=rng.uniform(1.4, 2.0))
    elif kind == 5:
        coats = [(125, 75, 35), (190, 130, 70), (40, 34, 30), (160, 110, 60)]
        look.update(length=rng.uniform(10, 13), height=rng.uniform(6, 7.5), coat=coats[rng.integers(len(coats))],
                    foot=rng.uniform(0.5, 1.0), step=rng.uniform(2.5, 3.5))
    else:
        look.update(rise=rng.uniform(1.2, 2.2), fall=rng.uniform(1.2, 2.2))
    return look


class Scene:
    """What stands still, drawn from a seed, and the timetable. Pictures come from draw()."""

    def __init__(self, seed, seconds=32.0, events=None):
        rng = self.rng = np.random.default_rng(seed)
        self.seconds = seconds
        self.pavement, self.road = rng.uniform(26, 30), rng.uniform(34, 37)
        tint = rng.uniform(-22, 22, 3)
        self.wall_color = rng.uniform(88, 165) + tint
        self.pavement_color = rng.uniform(105, 165) + 0.6 * tint
        self.road_color = rng.uniform(62, 108) + rng.uniform(-6, 6, 3)
        places = rng.permutation(3)  # thirds of the picture: the door, the lamp, a window
        middle = lambda third, margin: 37.3 * third + rng.uniform(margin, 37.3 - margin)
        self.door_x, self.door_w = middle(places[0], 10), rng.uniform(14, 18)
        self.door_top = self.pavement - rng.uniform(18, 21)
        self.door_color = np.array([(112, 64, 30), (70, 44, 30), (60, 70, 52), (72, 62, 84)][rng.integers(4)])
        self.door_left = bool(rng.random() < 0.5)
        self.inside_color = np.array([(250, 238, 170), (255, 226, 150), (240, 236, 206)][rng.integers(3)])
        self.lamp_x, self.lamp_y = middle(places[1], 8), rng.uniform(7, 10)
        self.lamp_color = np.array([255, rng.uniform(215, 245), rng.uniform(120, 190)])
        self.window = (middle(places[2], 11), rng.uniform(9, 13)) if rng.random() < 0.5 else None
        self.lanes = [self.road + rng.uniform(8.5, 9.5), self.road + rng.uniform(15.5, 17.5)]  # where wheels stand
        self.texture_seed = int(rng.integers(1 << 31))
        self.gain_phase, self.gain_depth = rng.uniform(0, 6.28, 2), rng.uniform(0.0, 0.06)
        self.gain_period = rng.uniform((15, 5), (60, 14))
        self.blur = rng.uniform(0.0, 0.55)  # sigma in world pixels
        self.noise = rng.uniform(0.4, 2.6)  # grey levels at 112 x 56
        self.events = self.timetable() if events is None else events

    # -- what happens ------------------------------------------------------------------------------------------
    def timetable(self):
        rng, events = self.rng, []
        lanes_busy = [[], []]
        busy = rng.choice([0.35, 0.6, 0.8], p=[0.2, 0.5, 0.3])  # chance that a type occurs at all
        for kind in rng.permutation(8):
            if rng.random() > busy:
                continue
            wanted, taken = int(rng.choice([1, 2, 3, 4], p=[0.3, 0.3, 0.25, 0.15])), []
            for _ in range(wanted * 3):
                if len(taken) == wanted:
                    break
                duration = rng.uniform(*DURATIONS[kind])
                start = rng.uniform(-4, self.seconds + 2)
                end = start + duration
                gap = 1.5 if kind < 6 else 3.0
                if any(start < e + gap and s - gap < end for s, e in taken):
                    continue
                lane = None
                if kind < 4:
                    free = [n for n in (0, 1) if all(start > e + 1.5 or end < s - 1.5 for s, e in lanes_busy[n])]
                    if not free:
                        continue
                    lane = int(rng.choice(free))
                    lanes_busy[lane].append((start, end))
                taken.append((start, end))
                events.append(Event(int(kind), start, end, random_look(rng, kind, lane)))
        return sorted(events, key=lambda e: e.start)

    def level(self, kind, t):
        """How open the door or how bright the lamp is at t, 0..1; 0.5 is the event's edge."""
        value = 0.0
        for e in self.events:
            if e.kind == kind:
                value = max(value, min(np.clip((t - e.start) / e.look["rise"] + 0.5, 0, 1),
                                       np.clip((e.end - t) / e.look["fall"] + 0.5, 0, 1)))
        return float(value)

    def middle(self, event, t):
        """x of a moving object's middle: at the edge of the picture at start and at end."""
        x = (t - event.start) / (event.end - event.start) * WIDTH
        return WIDTH - x if event.look["leftward"] else x

    def boxes(self, t):
        """[8, 5]: x0, y0, x1, y1 of each type's object and its level (1 for moving ones); NaN when none is seen."""
        out = np.full((8, 5), np.nan, np.float32)
        for e in self.events:
            if e.kind >= 6:
                continue
            half = self.size(e)[0] / 2
            x = self.middle(e, t)
            if x + half > 0 and x - half < WIDTH:
                foot = self.foot(e)
                out[e.kind] = x - half, foot - self.size(e)[1], x + half, foot, 1
        out[LAMP] = self.lamp_x - 3, self.lamp_y - 3, self.lamp_x + 3, self.lamp_y + 3, self.level(LAMP, t)
        half = self.door_w / 2
        out[DOOR] = self.door_x - half, self.door_top, self.door_x + half, self.pavement, self.level(DOOR, t)
        return out

    def size(self, event):
        if event.kind == 4:
            return event.look["width"], event.look["height"]
        return event.look["length"], event.look["height"]

    def foot(self, event):
        """y where the object touches the ground."""
        if event.kind < 4:
            return self.lanes[event.look["lane"]]
        return self.pavement + event.look["foot"] * (self.road - self.pavement)

    # -- what it looks like ------------------------------------------------------------------------------------
    def background(self, width, height):
        """Drawn once at 448 x 224 and averaged down, so that texture looks alike at every size."""
        rng = np.random.default_rng(self.texture_seed)
        picture = np.empty((224, 448, 3), np.float32)
        rows = np.arange(224) / 4.0
        for top, bottom, color in ((0, self.pavement, self.wall_color), (self.pavement, self.road, self.pavement_color),
                                   (self.road, HEIGHT, self.road_color)):
            picture[(rows >= top) & (rows < bottom)] = color
        picture += smooth_noise(rng, (224, 448), 32)[:, :, None] * rng.uniform(1, 5)
        picture += smooth_noise(rng, (224, 448), 3)[:, :, None] * rng.uniform(1, 5)
        canvas = Canvas(np.clip(picture, 0, 255), 4)
        dash, line = rng.uniform(6, 9), (self.lanes[0] + self.lanes[1]) / 2 - 2.2
        for x in np.arange(rng.uniform(-14, 0), WIDTH, dash * 2):
            canvas.rect(x, line, x + dash, line + 0.9, (205, 205, 200))
        if self.window:
            x, w = self.window
            canvas.rect(x - w / 2 - 0.8, 5.2, x + w / 2 + 0.8, 16.8, self.wall_color * 0.75)
            canvas.rect(x - w / 2, 6, x + w / 2, 16, (70, 86, 104))
            canvas.rect(x - 0.4, 6, x + 0.4, 16, self.wall_color * 0.75)
        canvas.rect(self.lamp_x - 0.5, self.lamp_y + 2, self.lamp_x + 0.5, self.pavement + 1.5, (48, 48, 50))
        return area_downscale(canvas.picture, width, height) if (width, height) != (448, 224) else canvas.picture

    def draw_door(self, canvas, level):
        half = self.door_w / 2
        x0, x1 = self.door_x - half, self.door_x + half
        canvas.rect(x0 - 0.8, self.door_top - 0.8, x1 + 0.8, self.pavement, self.door_color * 0.5)
        canvas.rect(x0, self.door_top, x1, self.pavement, self.inside_color)
        leaf = self.door_w * (1 - 0.85 * level)  # the leaf turns away: its picture narrows toward its hinge
        a, b = (x0, x0 + leaf) if self.door_left else (x1 - leaf, x1)
        canvas.rect(a, self.door_top, b, self.pavement, self.door_color * (1 - 0.25 * level))
        knob = b - 1.8 if self.door_left else a + 1
        if level < 0.7:
            canvas.rect(knob, self.pavement - 10.5, knob + 0.8, self.pavement - 9.5, (200, 180, 110))

    def draw_lamp(self, canvas, level):
        if level > 0:
            canvas.disc(self.lamp_x, self.lamp_y, 15, self.lamp_color * 0.55, level, soft=15, add=True)
        color = np.array((52, 52, 54)) * (1 - level) + self.lamp_color * level
        canvas.rect(self.lamp_x - 3, self.lamp_y - 2.5, self.lamp_x + 3, self.lamp_y + 2.5, color)
        canvas.rect(self.lamp_x - 3.4, self.lamp_y - 3.2, self.lamp_x + 3.4, self.lamp_y - 2.4, (44, 44, 46))

    def draw_mover(self, canvas, e, t):
        x, foot, (length, height) = self.middle(e, t), self.foot(e), self.size(e)
        if x + length < -2 or x - length > WIDTH + 2:
            return
        ahead = -1 if e.look["leftward"] else 1
        side = lambda a, b: (x + min(ahead * a, ahead * b) * length, x + max(ahead * a, ahead * b) * length)
        bottom, top = foot - 0.16 * height, foot - height
        if e.kind < 4:
            color = np.asarray(e.look["color"], np.float32)
            a, b = side(-0.5, 0.5)
            canvas.rect(a + 1, foot - 0.6, b - 1, foot + 0.8, (25, 25, 28), 0.6)  # shadow
            canvas.rect(a, foot - 0.62 * height, b, bottom, color)
            a, b = side(-0.46, 0.30) if e.look["van"] else side(-0.30, 0.24)
            canvas.rect(a, top, b, foot - 0.6 * height, color * 0.92)
            canvas.rect(a + 1.2, top + 0.1 * height, b - 1.2, foot - 0.64 * height, (58, 70, 84))
            a, b = side(0.45, 0.5)
            canvas.rect(a, foot - 0.52 * height, b, foot - 0.38 * height, (255, 250, 210))
            for place in (-0.29, 0.29):
                canvas.disc(x + place * length, foot - 0.17 * height, 0.19 * height, (18, 18, 20))
        elif e.kind == 4:
            swing = np.sin(2 * np.pi * e.look["step"] * t) * 0.24 * length
            hip, neck = foot - 0.46 * height, foot - 0.82 * height
            for leg in (-1, 1):
                canvas.rect(x + leg * swing - 1.0, hip - 0.3, x + leg * swing + 1.0, foot, e.look["trousers"])
            canvas.rect(x - length / 2, neck, x + length / 2, hip, e.look["shirt"])
            canvas.disc(x, neck - 0.08 * height, 0.10 * height, (226, 180, 150))
        else:
            coat = np.asarray(e.look["coat"], np.float32)
            bob = abs(np.sin(np.pi * e.look["step"] * t)) * 0.8
            swing = np.sin(2 * np.pi * e.look["step"] * t) * 0.1 * length
            for place, sign in ((-0.34, 1), (-0.26, -1), (0.26, 1), (0.34, -1)):
                leg = x + ahead * place * length + sign * swing
                canvas.rect(leg - 0.6, foot - 0.5 * height, leg + 0.6, foot, coat * 0.8)
            a, b = side(-0.42, 0.40)
            canvas.rect(a, foot - 0.82 * height - bob, b, foot - 0.42 * height - bob, coat)
            a, b = side(0.30, 0.52)
            canvas.rect(a, foot - 1.12 * height - bob, b, foot - 0.66 * height - bob, coat * 0.95)
            a, b = side(-0.52, -0.40)
            canvas.rect(a, foot - 1.0 * height - bob, b, foot - 0.75 * height - bob, coat)

    def gain(self, t):
        drift = np.sin(2 * np.pi * t / self.gain_period + self.gain_phase)
        return 1.0 + self.gain_depth * (0.75 * drift[0] + 0.25 * drift[1])

    def draw(self, times, width=WIDTH, height=HEIGHT, sensor_seed=None):
        """uint8 [len(times), height, width, 3]. The sensor's noise differs from frame to frame."""
        scale = width / WIDTH
        still = self.background(width, height)
        rng = np.random.default_rng(self.texture_seed + 1 if sensor_seed is None else sensor_seed)
        # Far ones first: pavement before the upper lane before the lower.
        movers = sorted((e for e in self.events if e.kind < 6), key=self.foot)
        frames = np.empty((len(times), height, width, 3), np.float32)
        # Things that stand still but change are drawn again only when they do.
        base, key = None, None
        for n, t in enumerate(times):
            levels = self.level(DOOR, t), self.level(LAMP, t)
            if levels != key:
                base = Canvas(still, scale)
                self.draw_door(base, levels[0])
                self.draw_lamp(base, levels[1])
                key = levels
            canvas = Canvas(base.picture, scale)
            for e in movers:
                self.draw_mover(canvas, e, t)
            frames[n] = canvas.picture * self.gain(t)
        if self.blur * scale > 0.2:
            frames = blur(frames, self.blur * scale)
        frames += sensor_noise(rng, frames.shape, self.noise * (scale ** 0.5))
        return np.clip(frames + 0.5, 0, 255).astype(np.uint8)


def sensor_noise(rng, shape, sigma):
    """Gaussian noise cut from one larger field at random places: a fresh field a frame is most of a clip's cost."""
    n, h, w, _ = shape
    field = rng.standard_normal((2 * h, 2 * w, 3), dtype=np.float32) * sigma
    out = np.empty(shape, np.float32)
    for k in range(n):
        y, x = rng.integers(h), rng.integers(w)
        out[k] = field[y:y + h, x:x + w]
    return out


def blur(frames, sigma):
    """Separable Gaussian over height and width, edges repeated."""
    radius = max(1, int(2 * sigma + 0.5))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2).astype(np.float32)
    kernel /= kernel.sum()
    for axis in (1, 2):
        pad = [(0, 0)] * 4
        pad[axis] = (radius, radius)
        wide, size = np.pad(frames, pad, mode="edge"), frames.shape[axis]
        frames = sum(k * np.take(wide, range(i, i + size), axis) for i, k in enumerate(kernel))
    return frames


# -- H.264 -----------------------------------------------------------------------------------------------------
def encode(frames, path, fps, crf=28, keyframe_seconds=2.0):
    """frames uint8 [n, h, w, 3], or an iterator of such, to H.264 in mp4: no B-frames, a keyframe every
    keyframe_seconds."""
    parts = iter([frames] if isinstance(frames, np.ndarray) else frames)
    part = next(parts)
    _, h, w, _ = part.shape
    gop = max(1, int(round(fps * keyframe_seconds)))
    command = ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{w}x{h}", "-r", str(fps),
               "-i", "-", "-c:v", "libx264", "-preset", "veryfast", "-threads", "1", "-crf", str(crf), "-bf", "0",
               "-g", str(gop), "-keyint_min", str(gop), "-sc_threshold", "0", "-pix_fmt", "yuv420p",
               "-movflags", "+faststart", path]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        while part is not None:
            process.stdin.write(np.ascontiguousarray(part).tobytes())
            part = next(parts, None)
        process.stdin.close()
    if process.returncode:
        raise RuntimeError(f"ffmpeg could not write {path}")


def decode(path, width, height):
    """The frames of a video, uint8 [n, height, width, 3], at its own size."""
    command = ["ffmpeg", "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(data, np.uint8).reshape(-1, height, width, 3)


# -- training clips --------------------------------------------------------------------------------------------
def block_noise(rng, frames):
    """A cheap likeness of compression: small steps that are constant over blocks and over a few frames."""
    n, h, w, _ = frames.shape
    strength, hold = rng.uniform(0, 1.6), int(rng.integers(2, 9))
    steps = rng.standard_normal(((n + hold - 1) // hold, h // 4, w // 4, 1), dtype=np.float32) * strength
    steps = np.repeat(np.repeat(np.repeat(steps, hold, 0)[:n], 4, 1), 4, 2)
    return np.clip(frames + steps + 0.5, 0, 255).astype(np.uint8)


def training_clip(seed, seconds=32.0, fps=4.0, scratch="/tmp"):
    """frames [n,56,112,3], times [n], events [k,3] (type, start, end), boxes [n,8,5]. A quarter of the clips has uneven
    times; one in eight went through H.264 at twice the size."""
    scene = Scene(seed, seconds)
    rng = np.random.default_rng(seed + 77)
    times = np.arange(int(seconds * fps)) / fps
    if seed % 4 == 3:
        times = np.sort(times + rng.uniform(-0.45, 0.45, len(times)) / fps)
    if seed % 8 == 1:
        path = os.path.join(scratch, f"clip-{os.getpid()}.mp4")
        encode(scene.draw(times, WIDTH * 2, HEIGHT * 2), path, fps, int(rng.integers(23, 31)))
        frames = area_downscale(decode(path, WIDTH * 2, HEIGHT * 2).astype(np.float32), WIDTH, HEIGHT)
        frames = (frames + 0.5).astype(np.uint8)
        os.unlink(path)
    else:
        frames = block_noise(rng, scene.draw(times))
    events = np.array([(e.kind, e.start, e.end) for e in scene.events], np.float32).reshape(-1, 3)
    return frames, times.astype(np.float32), events, np.stack([scene.boxes(t) for t in times])


def make_clips(folder, count, first_seed=1000, per_shard=50):
    os.makedirs(folder, exist_ok=True)
    for shard in range(count // per_shard):
        path = os.path.join(folder, f"{first_seed + shard * per_shard:07d}.npz")
        if os.path.exists(path):
            continue
        clips = [training_clip(first_seed + shard * per_shard + i, scratch=folder) for i in range(per_shard)]
        events = np.full((per_shard, max(len(c[2]) for c in clips), 3), -1, np.float32)
        for i, c in enumerate(clips):
            events[i, :len(c[2])] = c[2]
        np.save(path[:-4] + ".frames.npy", np.stack([c[0] for c in clips]))
        with open(path + ".part", "wb") as f:
            np.savez(f, times=np.stack([c[1] for c in clips]), events=events, boxes=np.stack([c[3] for c in clips]))
        os.rename(path + ".part", path)


# -- the demo cameras ------------------------------------------------------------------------------------------
# What happens on each: (type, start, seconds it lasts). No yellow car drives past on either: it is the demo's "no".
CAMERAS = {
    "gate": (60.0, 910_011, 25, [
        (6, 3.2, 8.6), (0, 5.4, 4.6), (4, 8.9, 8.1), (2, 13.3, 4.1), (7, 17.6, 5.9), (5, 20.2, 4.7), (0, 26.1, 5.3),
        (4, 29.4, 7.2), (1, 33.7, 4.4), (6, 36.5, 8.8), (7, 40.3, 6.1), (5, 43.6, 5.2), (0, 47.2, 3.9), (2, 52.4, 4.8)]),
    "yard": (180.0, 910_025, 26, [
        (4, 4.3, 7.4), (0, 14.6, 4.9), (6, 19.1, 9.5), (5, 24.8, 4.4), (7, 33.2, 7.1), (4, 34.6, 8.8), (2, 41.7, 5.6),
        (1, 52.3, 4.2), (0, 63.1, 5.8), (4, 71.4, 6.6), (6, 83.9, 9.1), (7, 88.2, 5.4), (2, 97.5, 4.7), (5, 104.4, 5.1),
        (4, 112.8, 9.2), (0, 118.3, 3.6), (1, 126.9, 6.3), (6, 133.4, 7.8), (2, 146.2, 3.8), (5, 150.7, 4.9),
        (7, 157.3, 8.3), (0, 163.9, 6.4), (4, 166.8, 8.1)]),
}


def make_cameras(folder):
    os.makedirs(folder, exist_ok=True)
    for name, (seconds, seed, crf, table) in CAMERAS.items():
        rng = np.random.default_rng(seed)
        events = [Event(kind, start, start + length, random_look(rng, kind, n % 2))
                  for n, (kind, start, length) in enumerate(table)]
        scene = Scene(seed, seconds, events)
        times = np.arange(int(seconds * 10)) / 10
        parts = (scene.draw(times[i:i + 100], 448, 224, sensor_seed=seed + i) for i in range(0, len(times), 100))
        encode(parts, os.path.join(folder, name + ".mp4"), 10, crf)
        truth = [{"start_seconds": round(e.start, 3), "end_seconds": round(e.end, 3),
                  "description": DESCRIPTIONS[e.kind]} for e in events]
        with open(os.path.join(folder, name + ".truth.json"), "w") as f:
            json.dump(truth, f, indent=1)
            f.write("\n")


if __name__ == "__main__":
    if len(sys.argv) >= 3 and sys.argv[1] == "cameras":
        make_cameras(sys.argv[2])
    elif len(sys.argv) >= 4 and sys.argv[1] == "clips":
        make_clips(sys.argv[2], int(sys.argv[3]))
    else:
        sys.exit(__doc__)
