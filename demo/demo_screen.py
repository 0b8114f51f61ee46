"""What people see while the demo runs: lines that scroll, and below them on a terminal a bar a camera."""
import shutil
import sys
import time

PLAIN_EVERY_S = 10  # without a terminal: one line of progress this often


class Screen:
    def __init__(self, out=None):
        self.out = out or sys.stdout
        self.tty = self.out.isatty()
        encoding = (getattr(self.out, "encoding", None) or "ascii").lower()
        self.full, self.empty = ("█", "░") if encoding.startswith("utf") else ("#", ".")
        self.drawn = 0
        self.rows = []
        self.last_plain = time.monotonic()

    def paint(self, code, text):
        return f"\x1b[{code}m{text}\x1b[0m" if self.tty else text

    def bold(self, text):
        return self.paint("1", text)

    def dim(self, text):
        return self.paint("2", text)

    def green(self, text):
        return self.paint("32", text)

    def red(self, text):
        return self.paint("31", text)

    def _erase(self):
        if self.drawn:
            self.out.write(f"\x1b[{self.drawn}A\x1b[J")
            self.drawn = 0

    def line(self, text=""):
        self._erase()
        self.out.write(text + "\n")
        self._draw()
        self.out.flush()

    def _draw(self):
        if not self.tty:
            return
        width = shutil.get_terminal_size().columns
        for share, text in self.rows:
            filled = round(20 * min(max(share, 0.0), 1.0))
            bar = self.full * filled + self.empty * (20 - filled)
            self.out.write(f"{bar} {text}"[:width - 1] + "\n")
        self.drawn = len(self.rows)

    def progress(self, rows):
        """rows: [(share done 0..1, text)]"""
        self._erase()
        self.rows = rows
        if self.tty:
            self._draw()
        elif time.monotonic() - self.last_plain >= PLAIN_EVERY_S:
            self.last_plain = time.monotonic()
            for share, text in rows:
                self.out.write(f"  {100 * share:3.0f} %  {text}\n")
        self.out.flush()

    def finish(self):
        """The bars go away; what scrolls stays."""
        self._erase()
        self.rows = []
        self.out.flush()
