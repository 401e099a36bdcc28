"""Packets on one clock, where a file is several recordings joined and its time stamps jump."""

import math
from fractions import Fraction

import av

# A decoding time may be a little off its place in a sound file; a jump back by more is another recording's clock.
SLIP = Fraction(1, 4)
# A gap longer than this, in a format whose clock may be set anew at any point, is no pause but another clock (FFmpeg's
# own limit).
LONGEST_GAP = Fraction(10)


class SteadyClock:
    """Moves the time stamps of packets, taken in file order from the first one on, so that the decoding times go on
    without a break: the first packet after a jump follows the one before it.

    Args:
        time_base: seconds per tick.
        may_leap: whether a gap too is taken for a jump (MPEG transport and program streams).
    """

    def __init__(self, time_base: Fraction, may_leap: bool):
        self.jumps = 0
        self._least = -int(SLIP / time_base)
        self._most = int(LONGEST_GAP / time_base) if may_leap else math.inf
        self._offset = 0
        self._last: int | None = None  # decoding time of the packet before, as it is written
        self._before: av.Packet | None = None

    def adjust(self, packet: av.Packet) -> None:
        """Moves the time stamps of the next packet."""
        decoded = packet.dts
        if decoded is not None:
            last = self._last
            if last is not None and not self._least <= decoded - last <= self._most:
                self._offset += last - decoded + (self._before.duration or 0 if self._before is not None else 0)
                self.jumps += 1
            self._last, self._before = decoded, packet
        if self._offset:
            packet.pts = packet.pts + self._offset if packet.pts is not None else None
            packet.dts = packet.dts + self._offset if packet.dts is not None else None
