"""A program on a pseudo-terminal, as a person has it before them."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """Types into a program and reads what it shows, without colours.

    Args:
        argv: of the program. prompt: what it shows when it waits for a line. environment: added to this process's.
    """

    def __init__(self, argv: list[str], prompt: str, **environment: str):
        self._prompt, self._seen = prompt, ""
        self._master, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        self.process = subprocess.Popen(
            argv,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=os.environ | {"TERM": "dumb", "COLUMNS": "200"} | environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C reaches it
        )
        os.close(terminal)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *error) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def wait(self, seconds: float = 250) -> str:
        """What is shown up to the next prompt."""
        end = time.monotonic() + seconds
        while self._prompt not in self._seen:
            ready, _, _ = select.select([self._master], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise TimeoutError(f"no prompt in {seconds} s after {self._seen!r}")
            self._seen += self._read()
        shown, _, self._seen = self._seen.partition(self._prompt)
        return shown

    def type(self, keys: str) -> str:
        """Presses keys and waits for the next prompt."""
        os.write(self._master, keys.encode())
        return self.wait()

    def end(self, keys: str) -> int:
        """Presses keys that end the program; its exit status."""
        os.write(self._master, keys.encode())
        return self.process.wait(60)

    def _read(self) -> str:
        try:
            return ESCAPES.sub("", os.read(self._master, 65536).decode(errors="replace"))
        except OSError:  # it ended
            raise EOFError(f"the program ended after {self._seen!r}") from None
