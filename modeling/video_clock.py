"""Packets on one clock, where a file is several recordings joined and its time stamps jump."""

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
        self.slip = int(SLIP / time_base)
        self.longest_gap = int(LONGEST_GAP / time_base) if may_leap else None
        self.jumps = 0
        self._offset = 0
        self._expected: int | None = None  # decoding time of the next packet on the steady clock

    def adjust(self, packet: av.Packet) -> None:
        """Moves the time stamps of the next packet."""
        if packet.dts is not None:
            if self._expected is not None:
                gap = packet.dts + self._offset - self._expected
                if gap < -self.slip or (self.longest_gap is not None and gap > self.longest_gap):
                    self._offset -= gap
                    self.jumps += 1
            self._expected = packet.dts + self._offset + (packet.duration or 0)
        if self._offset:
            packet.pts = packet.pts + self._offset if packet.pts is not None else None
            packet.dts = packet.dts + self._offset if packet.dts is not None else None
