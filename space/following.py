"""Follows a folder into the served index, in a process of its own: searches go on while it encodes."""

import os
import subprocess
import sys
import threading
from pathlib import Path

from dmae.retrieval import check_watching

from .settings import Settings

RESTART_SECONDS = 10
STOP_SECONDS = 30


class Follower:
    """Runs `dmae index FOLDER --watch` beside the server, and again where it was killed.

    Raises:
        VideoIndexError: the folder cannot be followed.
    """

    def __init__(self, settings: Settings):
        folder = Path(settings.watch).expanduser()
        check_watching([folder])
        self._command = [sys.executable, "-m", "dmae.cli", "index", str(folder), "--watch"]
        self._command += ["--model", settings.model, "--index", os.path.expanduser(settings.index)]
        self._command += ["--precision", settings.precision] if settings.precision else []
        self._process: subprocess.Popen | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="follow")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends it as Ctrl-C would: what is encoded is kept."""
        self._stopped.set()
        if self._process is not None:
            self._process.terminate()
            self._thread.join(STOP_SECONDS)
            self._process.kill()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._process = subprocess.Popen(self._command)
            status = self._process.wait()
            if not self._stopped.is_set():
                print(f"following ended with status {status}: again in {RESTART_SECONDS} s", file=sys.stderr)
                self._stopped.wait(RESTART_SECONDS)
