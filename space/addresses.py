"""Addresses of videos and their frames: relative, to hold behind any proxy, and made of ids, never of paths."""

import base64
import binascii

PREFIX = "media"
INDEX = "index"  # the scope of the open index; a visitor's own videos have their secret as the scope


def encode_id(video_id: str) -> str:
    """An id, whatever its characters, as one path segment."""
    return base64.urlsafe_b64encode(video_id.encode()).decode().rstrip("=")


def decode_id(segment: str) -> str | None:
    """The id in a path segment, or None where it holds none."""
    try:
        padded = segment.encode("ascii") + b"=" * (-len(segment) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        return None


def video_url(scope: str, video_id: str) -> str:
    return f"{PREFIX}/{scope}/{encode_id(video_id)}/video"


def frame_url(scope: str, video_id: str, seconds: float) -> str:
    """Address of the picture of the frame that the index holds at a moment; 0 where it knows no moments."""
    return f"{PREFIX}/{scope}/{encode_id(video_id)}/{round(1000 * seconds)}.jpg"


def clip_url(scope: str, video_id: str, start: float, end: float) -> str:
    """Address of a span (s) as a file of its own."""
    return f"{PREFIX}/{scope}/{encode_id(video_id)}/clip/{round(1000 * start)}-{round(1000 * end)}"
