"""The routes that serve videos and pictures of frames: of the open index and of the visitor's own, of nothing else."""

import mimetypes
import os
import threading
from collections import OrderedDict
from pathlib import Path
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from dmae.modeling import VIDEO_SUFFIXES, RemoteVideo, VideoDecodeError
from dmae.retrieval import clip_name

from .decoding import Decoder
from .distant_videos import DistantVideos
from .library import INDEX, PREFIX, Library, Result, decode_id
from .texts import UserError

SAME_MOMENT = 0.005  # s
PICTURE_CACHE = CLIP_CACHE = 64 << 20  # bytes
LONGEST_CLIP = 60.0  # seconds
MATROSKA = b"\x1a\x45\xdf\xa3"
HEADERS = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}
TYPES = {".mkv": "video/x-matroska", ".gif": "image/gif"} | dict.fromkeys((".ts", ".m2ts", ".mts"), "video/mp2t")


class Media:
    """Answers `media/SCOPE/ID/video` and `media/SCOPE/ID/N.jpg`.

    Args:
        shelves: finds a visitor's videos by their secret.
        root: folder outside which no video of the index is served; None: any video file that the index lists. In a
            snapshot of the Hub names are links into the blobs beside it, which may be followed.
        distant: videos of the index at URLs that may be played, too.
    """

    def __init__(
        self,
        library: Library,
        shelves,
        decoder: Decoder,
        root: Path | None = None,
        distant: DistantVideos | None = None,
    ):
        self._distant = distant
        self._library = library
        self._shelves = shelves
        self._decoder = decoder
        self._root = root.resolve() if root else None
        self._blobs = (
            self._root.parent.parent / "blobs" if self._root and root and root.parent.name == "snapshots" else None
        )
        self._pictures, self._clips = PictureCache(PICTURE_CACHE), PictureCache(CLIP_CACHE)

    def routes(self) -> list[Route]:
        return [
            Route(f"/{PREFIX}/{{scope}}/{{key}}/video", self.video),
            Route(f"/{PREFIX}/{{scope}}/{{key}}/{{millis:int}}.jpg", self.picture),
            Route(f"/{PREFIX}/{{scope}}/{{key}}/clip/{{start:int}}-{{end:int}}", self.clip),
        ]

    def video(self, request: Request) -> Response:
        """The file itself, in ranges where the player asks for them."""
        row = self._row(request, ["path"])
        if row is None:
            return _missing()
        scope, headers = request.path_params["scope"], HEADERS | {"Cache-Control": "private, max-age=3600"}
        path, distant = self._playable(row["path"], scope), self._at_url(row["path"], scope)
        if path is not None:
            return FileResponse(path, media_type=_kind(path.name), headers=headers)
        if self._distant is not None and distant is not None:
            kind = _kind(distant.url)
            return self._distant.answer(distant, request, media_type=kind, headers=headers) or _missing()
        return _missing()

    def picture(self, request: Request) -> Response:
        """A frame that the index holds; the stored thumbnail where the file cannot be read any more."""
        scope, at = request.path_params["scope"], request.path_params["millis"] / 1000
        row = self._row(request, ["path", "frame_times", "revision"], at=at)
        if row is None or not (at == 0 or any(abs(time - at) < SAME_MOMENT for time in row["frame_times"])):
            return _missing()
        key = scope, request.path_params["key"], row["revision"], request.path_params["millis"]
        picture = self._pictures.get(key)
        if picture is None:
            picture = self._decode(row, scope, at)
            picture = picture or (self._row(request, ["thumbnail"], at=at) or {}).get("thumbnail")
            if picture is None:
                return _missing()
            self._pictures.put(key, picture)
        return Response(picture, media_type="image/jpeg", headers=HEADERS | {"Cache-Control": "private, max-age=3600"})

    def clip(self, request: Request) -> Response:
        """A span as a file of its own."""
        asked = request.path_params
        start, end = asked["start"] / 1000, asked["end"] / 1000
        video_id = decode_id(asked["key"]) or ""
        try:
            data = self.cut(asked["scope"], video_id, start, end)
        except (UserError, VideoDecodeError):
            return _missing()
        kind, suffix = ("video/x-matroska", ".mkv") if data.startswith(MATROSKA) else ("video/mp4", ".mp4")
        name = quote(clip_name(video_id, start, end) + suffix)
        named = {"Content-Disposition": f"inline; filename*=utf-8''{name}"}
        return Response(data, media_type=kind, headers=HEADERS | named | {"Cache-Control": "private, max-age=3600"})

    def cut(self, scope: str, video_id: str, start: float, end: float) -> bytes:
        """A span of a video as a file of its own.

        Raises:
            UserError: there is no such video or span. VideoDecodeError: it cannot be read.
        """
        if not (0 <= start < end and round(end - start, 3) <= LONGEST_CLIP):
            raise UserError("no_span", start=start, end=end, most=int(LONGEST_CLIP))
        shelf = None if scope == INDEX else self._shelves.by_secret(scope)
        row = self._library.row(scope, video_id, ["path", "revision"], shelf)
        path = self._playable(row["path"], scope) if row else None
        if row is None or path is None:
            raise UserError("video_gone")
        key = scope, video_id, row["revision"], start, end
        clip = self._clips.get(key)
        if clip is None:
            clip = self._decoder.clip(str(path), start, end)
            self._clips.put(key, clip)
        return clip

    def plays(self, result: Result) -> bool:
        """Whether the file of a result is within reach of this page."""
        return self.cuts(result) or self._at_url(result.hit.path, result.scope) is not None

    def cuts(self, result: Result) -> bool:
        """Whether spans of it can be cut out, too."""
        return self._playable(result.hit.path, result.scope) is not None

    def _at_url(self, path: str | None, scope: str) -> RemoteVideo | None:
        return self._distant.find(path) if self._distant is not None and scope == INDEX else None

    def _decode(self, row: dict, scope: str, at: float) -> bytes | None:
        path = self._playable(row["path"], scope)
        if path is None or not row["frame_times"]:
            return None
        try:
            return self._decoder.picture(str(path), min(row["frame_times"], key=lambda time: abs(time - at)))
        except VideoDecodeError:
            return None

    def _row(self, request: Request, columns: list[str], at: float | None = None) -> dict | None:
        scope, video_id = request.path_params["scope"], decode_id(request.path_params["key"])
        shelf = None if scope == INDEX else self._shelves.by_secret(scope)
        if video_id is None or (scope != INDEX and shelf is None):
            return None
        try:
            return self._library.row(scope, video_id, columns, shelf, at=at)
        except UserError:
            return None

    def _playable(self, path: str | None, scope: str) -> Path | None:
        """The file behind every link, if it is a video file in a place that may be served.

        An index is data: one that lists other files, or a link to them, gets nothing out.
        """
        if not path:
            return None
        root = self._root if scope == INDEX else None
        try:
            named = Path(os.path.normpath(root / path)) if root else Path(path)
            real = Path(os.path.realpath(named))
            if not real.is_file():
                return None
        except (OSError, ValueError):
            return None
        if root and self._blobs and named.is_relative_to(root) and real.parent == self._blobs:
            return named if named.suffix.lower() in VIDEO_SUFFIXES else None
        allowed = real.suffix.lower() in VIDEO_SUFFIXES and (root is None or real.is_relative_to(root))
        return real if allowed else None


class PictureCache:
    """The most recently shown pictures, up to a number of bytes."""

    def __init__(self, limit: int):
        self._limit = limit
        self._size = 0
        self._pictures: OrderedDict[tuple, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple) -> bytes | None:
        with self._lock:
            if key in self._pictures:
                self._pictures.move_to_end(key)
            return self._pictures.get(key)

    def put(self, key: tuple, picture: bytes) -> None:
        with self._lock:
            self._size += len(picture) - len(self._pictures.pop(key, b""))
            self._pictures[key] = picture
            while self._size > self._limit:
                self._size -= len(self._pictures.popitem(last=False)[1])


def _kind(name: str) -> str:
    """The media type of a video by its name."""
    return TYPES.get(os.path.splitext(name)[1].lower()) or mimetypes.guess_type(name)[0] or "video/mp4"


def _missing() -> Response:
    return Response("Not found", status_code=404, media_type="text/plain", headers=HEADERS)
