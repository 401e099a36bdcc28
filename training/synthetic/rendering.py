"""A synthetic scene as pictures, and pictures as an mp4 file."""

import os
from math import cos, pi, sin
from pathlib import Path

import av
import numpy as np

from .scenes import COLOURS, RADII, Scene, Thing

FPS = 8
ENCODER_OPTIONS = {"preset": "ultrafast", "crf": "16"}


def render(scene: Scene, size: int) -> np.ndarray:
    """The frames of a scene.

    Returns:
        uint8 array of shape (frames, size, size, 3), RGB.
    """
    frames = round(scene.duration * FPS)
    shades = np.linspace(*scene.shade, size, dtype=np.float32)
    background = np.broadcast_to(shades[:, None, None], (size, size, 3))
    pictures = np.empty((frames, size, size, 3), np.uint8)
    for number in range(frames):
        picture = background.copy()
        for thing, done in zip(scene.things, scene.progress(number / (frames - 1))):
            _draw(picture, thing, done)
        pictures[number] = picture.round()
    return pictures


def _draw(picture: np.ndarray, thing: Thing, done: float) -> None:
    """Paints an object onto float pictures in place, its edge antialiased over one pixel."""
    size, radius = len(picture), RADII[thing.size]
    x, y = thing.centre(done)
    left, top = (max(0, int((centre - 1.2 * radius) * size)) for centre in (x, y))
    right, bottom = (int((centre + 1.2 * radius) * size) + 2 for centre in (x, y))
    patch = picture[top:bottom, left:right]
    rows, columns = np.mgrid[top : top + patch.shape[0], left : left + patch.shape[1]] + 0.5
    distance = SIGNED_DISTANCE[thing.shape]((columns / size - x) / radius, (rows / size - y) / radius)
    cover = np.clip(0.5 - distance * radius * size, 0, 1)[..., None]
    patch += cover * (np.asarray(COLOURS[thing.colour]) - patch)


def write_video(path: Path, pictures: np.ndarray) -> None:
    """Writes (F, H, W, 3) uint8 RGB as H.264 in mp4, atomically; the same pictures give the same bytes."""
    partial = path.with_name(f".{path.name}.part")
    try:
        with av.open(str(partial), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=FPS, options=ENCODER_OPTIONS)
            stream.height, stream.width = pictures.shape[1:3]
            stream.pix_fmt = "yuv420p"
            stream.codec_context.thread_count = 1
            for picture in pictures:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _polygon(*corners: tuple[float, float]):
    """Signed distance to a polygon, exact at its edges (negative inside)."""

    def distance(x, y):
        nearest, inside = np.full_like(x, np.inf), np.zeros(x.shape, bool)
        for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1]):
            share = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2), 0, 1)
            nearest = np.minimum(nearest, np.hypot(x - ax - share * (bx - ax), y - ay - share * (by - ay)))
            if ay != by:
                inside ^= ((y < ay) != (y < by)) & (x < ax + (y - ay) / (by - ay) * (bx - ax))
        return np.where(inside, -nearest, nearest)

    return distance


def _around(count: int, *radii: float):
    """Corners around the centre, the first on top, of radii that take turns."""
    turns = [(pi * (2 * number / count - 0.5), radii[number % len(radii)]) for number in range(count)]
    return [(radius * cos(turn), radius * sin(turn)) for turn, radius in turns]


_ARM = 0.36
SIGNED_DISTANCE = {
    "circle": lambda x, y: np.hypot(x, y) - 0.95,
    "ring": lambda x, y: np.abs(np.hypot(x, y) - 0.75) - 0.25,
    "square": lambda x, y: np.maximum(np.abs(x), np.abs(y)) - 0.85,
    "triangle": _polygon(*[(x, y + 0.2) for x, y in _around(3, 1.15)]),
    "star": _polygon(*_around(10, 1.1, 0.42)),
    "cross": lambda x, y: np.minimum(
        np.maximum(np.abs(x) - 1, np.abs(y) - _ARM), np.maximum(np.abs(x) - _ARM, np.abs(y) - 1)
    ),
}
