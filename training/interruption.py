"""Ctrl-C and the scheduler's SIGTERM as a request to stop after the present step."""

import signal
import threading
from types import FrameType


class StopRequest:
    """Inside `with StopRequest() as stop`, the first SIGINT or SIGTERM sets `stop.received` to its number instead of
    ending the program; a second one acts as usual."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self):
        self.received: int | None = None
        self._previous = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # Python handles signals nowhere else
            self._previous = {number: signal.signal(number, self._receive) for number in self.SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.received = number
        self.__exit__()
