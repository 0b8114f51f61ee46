"""Pictures that carry their number: 8 x 4 black and white cells, 16 bits and their complement.

A frame that came out of whend-camera can so be traced to the very picture that went into the encoder, whatever container,
transport or clock lies between: the proof of time needs no trust in any of them.
"""
import struct
import subprocess

COLUMNS, ROWS, CELL = 8, 4, 42
WIDTH, HEIGHT = COLUMNS * CELL, ROWS * CELL  # multiples of the model's 28: frames come as they were made
BLACK, WHITE = b"\x10", b"\xeb"


def picture(number):
    """Luma [HEIGHT, WIDTH] of picture `number` (0..65535)."""
    bits = [number >> i & 1 for i in range(16)]
    bits += [1 - bit for bit in bits]
    rows = [b"".join((WHITE if bit else BLACK) * CELL for bit in bits[r * COLUMNS:(r + 1) * COLUMNS])
            for r in range(ROWS)]
    return b"".join(row * CELL for row in rows)


def read(rgb, width, height):
    """The number in a frame; AssertionError where a bit and its complement agree: no guess is made."""
    def bit(i):
        x = (2 * (i % COLUMNS) + 1) * width // (2 * COLUMNS)
        y = (2 * (i // COLUMNS) + 1) * height // (2 * ROWS)
        return rgb[(y * width + x) * 3 + 1] > 127
    number = 0
    for i in range(16):
        assert bit(i) != bit(i + 16), f"bit {i} cannot be read"
        number |= bit(i) << i
    return number


def encode(path, count, codec, fps=10, options=(), filters="", muxing=(), first=0):
    """Pictures first..first+count-1 at fps through ffmpeg's encoder `codec` (with its options) into a new file."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-f", "rawvideo", "-pix_fmt", "gray", "-video_size",
               f"{WIDTH}x{HEIGHT}", "-framerate", str(fps), "-i", "pipe:0"]
    if filters:
        # ffmpeg 7 loses the pictures' durations there: the last one would last for no time, and be cut off.
        command += ["-vf", filters, "-fps_mode", "passthrough", "-enc_time_base", "1:90000", "-bsf:v",
                    "setts=pts=PTS:dts=DTS:duration=if(N\\,DTS-PREV_INDTS\\,1)"]
    command += ["-c:v", codec, "-threads", "1", "-pix_fmt", "yuvj420p" if codec == "mjpeg" else "yuv420p", *options, *muxing, path]
    subprocess.run(command, input=b"".join(picture(first + i) for i in range(count)), check=True)
    return path


def remux(path, *options):
    """The same pictures in another container, or cut by an edit list."""
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *options, path], check=True)
    return path


def note_turn(path, degrees):
    """Writes into an MP4 that its pictures are to be turned to the left (ffmpeg's option for that differs by version)."""
    a, b, c, d = {90: (0, -1, 1, 0), 180: (-1, 0, 0, -1), 270: (0, 1, -1, 0)}[degrees]
    with open(path, "r+b") as file:
        data = file.read()
        assert data.count(b"tkhd\0") == 1, "one track, its header of version 0"
        file.seek(data.index(b"tkhd") + 44)
        file.write(struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30))
    return path


def certificate(path):
    """A self-signed certificate of nobody in particular, with its key."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", path, "-out", path + ".crt", "-days", "2", "-subj", "/CN=camera"], check=True,
                   stderr=subprocess.DEVNULL)
    with open(path + ".crt") as crt, open(path, "a") as both:
        both.write(crt.read())
    return path
