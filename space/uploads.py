"""Videos that visitors add: each has a shelf of their own, which no other sees and which is deleted after a while."""

import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from dmae.modeling import VIDEO_SUFFIXES, VideoDecodeError, VideoFrames, VideoLimits, encode_videos
from dmae.retrieval import FilmChunk, VideoFile, VideoIndex

from .decoding import Decoder
from .guards import folder_bytes
from .library import Library, OpenLibrary
from .settings import Settings
from .texts import UserError

MB = 1_000_000
SWEEP_SECONDS = 60


def _tell_nobody(share: float) -> None:
    pass


class Shelf:
    """One visitor's videos: a folder, an index of its own, and the secret that is part of their addresses."""

    def __init__(self, root: Path, library: Library):
        self.secret = secrets.token_hex(16)
        self.folder = root / self.secret
        self.folder.mkdir()
        assert isinstance(library, OpenLibrary), "beside a search service nobody adds videos"
        like = library.index.table.settings  # so that scores of both mean the same
        settings = {"dtype": like.dtype, "merge_above": like.merge_above, "frames_per_second": like.frames_per_second}
        self.index = VideoIndex.create(self.folder / "index", library.model, library.processor, **settings)
        self.used = time.monotonic()
        self.busy = threading.Lock()

    def __len__(self) -> int:
        return len(self.index)


class Shelves:
    """Every visitor's shelf, by the session that their browser (or API client) holds."""

    def __init__(self, library: Library, decoder: Decoder, settings: Settings, root: Path | None = None):
        self._library = library
        self._decoder = decoder
        self._settings = settings
        self.root = Path(tempfile.mkdtemp(prefix="dmae-uploads-", dir=root))
        self._by_session: dict[str, Shelf] = {}
        self._by_secret: dict[str, Shelf] = {}
        self._lock = threading.Lock()
        self._one_film = threading.Lock()  # is read at a time: others need a decoding process too

    def of(self, session: str | None) -> Shelf | None:
        """The shelf of a session, or None where nothing was added yet."""
        shelf = self._by_session.get(session or "")
        if shelf is not None:
            shelf.used = time.monotonic()
        return shelf

    def by_secret(self, secret: str) -> Shelf | None:
        return self._by_secret.get(secret)

    def add(self, session: str | None, file: str, tell: Callable[[float], None] = _tell_nobody) -> tuple[str, float]:
        """Takes a file a visitor sent and makes it searchable for them; the file is moved out of where it was sent to.

        Args:
            tell: called with the share (0 to 1) of a long video that is read, now and then.

        Returns:
            its title and its duration in seconds.

        Raises:
            UserError: why it was not added, in words for the visitor.
        """
        name = os.path.basename(file)
        if not self._settings.uploads_allowed:
            raise UserError("uploads_off")
        if not session:
            raise UserError("uploads_need_session")
        self._check(file, name)
        shelf = self._open(session)
        with shelf.busy:
            if len(shelf) >= self._settings.max_uploads:
                raise UserError("uploads_full", name=name, count=len(shelf))
            target = shelf.folder / f"{secrets.token_hex(8)}{Path(name).suffix.lower()}"
            shutil.move(file, target)
            try:
                return self._index(shelf, target, name, tell)
            except BaseException:
                target.unlink(missing_ok=True)
                raise

    def remove(self, session: str | None) -> None:
        """Deletes a session's videos."""
        with self._lock:
            shelf = self._by_session.pop(session or "", None)
            if shelf is not None:
                del self._by_secret[shelf.secret]
        if shelf is not None:
            with shelf.busy:
                shutil.rmtree(shelf.folder, ignore_errors=True)

    def sweep(self) -> None:
        """Deletes the videos of sessions that were idle for too long."""
        oldest = time.monotonic() - 60 * self._settings.session_minutes
        for session in [session for session, shelf in list(self._by_session.items()) if shelf.used < oldest]:
            self.remove(session)

    def sweep_forever(self) -> threading.Thread:
        """Sweeps every minute in a thread of its own."""

        def run():
            while True:
                time.sleep(SWEEP_SECONDS)
                self.sweep()

        thread = threading.Thread(target=run, daemon=True, name="sweep")
        thread.start()
        return thread

    def close(self) -> None:
        for session in list(self._by_session):
            self.remove(session)
        shutil.rmtree(self.root, ignore_errors=True)

    @property
    def count(self) -> int:
        """Visitors who have added something."""
        return len(self._by_session)

    @property
    def bytes(self) -> int:
        """Disk that all shelves take."""
        return folder_bytes(self.root)

    def _check(self, file: str, name: str) -> None:
        size, limits = os.path.getsize(file), self._settings
        if Path(name).suffix.lower() not in VIDEO_SUFFIXES:
            raise UserError("no_video_name", name=name)
        if size > limits.max_file_mb * MB:
            raise UserError("file_too_large", name=name, mb=f"{size / MB:.0f}", most=limits.max_file_mb)
        if self.bytes + size > limits.max_disk_mb * MB:
            raise UserError("no_room", name=name)

    def _open(self, session: str) -> Shelf:
        with self._lock:
            if session not in self._by_session:
                shelf = Shelf(self.root, self._library)
                self._by_session[session], self._by_secret[shelf.secret] = shelf, shelf
            shelf = self._by_session[session]
        shelf.used = time.monotonic()
        return shelf

    def _index(self, shelf: Shelf, path: Path, name: str, tell: Callable[[float], None]) -> tuple[str, float]:
        video_id, title = f"{len(shelf)}-{name}", Path(name).stem
        limits = VideoLimits(max_duration=self._settings.max_seconds)
        try:
            frames = self._decoder.read(
                str(path), limits=limits, **self._library.processor.video_processor.read_options
            )
            if frames.duration > self._settings.max_seconds:
                most = self._settings.max_seconds
                raise UserError("video_too_long", name=name, seconds=f"{frames.duration:.0f}", most=most)
            if frames.duration > shelf.index.table.settings.longest_segment:
                self._add_film(shelf, path, video_id, title, limits, tell)
            else:
                self._add_frames(shelf, path, video_id, title, frames)
        except VideoDecodeError as error:
            raise UserError("unreadable", name=name, reason=error.reason) from None
        return title, float(frames.duration)

    def _add_frames(self, shelf: Shelf, path: Path, video_id: str, title: str, frames: VideoFrames) -> None:
        """Adds a video that is one segment, of the frames that the processor samples."""
        features = encode_videos(self._library.model, self._library.processor, [frames])
        times = np.zeros(features.frame_mask.shape, dtype=np.float32)
        times[0, : len(frames.timestamps)] = frames.timestamps
        shelf.index.add_embeddings(
            [video_id],
            features.frame_embeds,
            features.frame_mask,
            [{"title": title}],
            frame_times=times,
            files=[VideoFile(path=str(path), duration=float(frames.duration))],
        )

    def _add_film(
        self, shelf: Shelf, path: Path, video_id: str, title: str, limits: VideoLimits, tell: Callable[[float], None]
    ) -> None:
        """Adds a longer one, cut into segments as the videos of the index are."""
        rate = shelf.index.table.settings.frames_per_second
        assert rate is not None, "else every video is one segment"
        size = self._library.processor.video_processor.read_options["size"]
        with self._one_film, closing(self._decoder.film(str(path), rate, size=size, limits=limits)) as chunks:
            waited_for = self._while_wanted(shelf, chunks)
            shelf.index.add_film(video_id, waited_for, path=str(path), metadata={"title": title}, tell=tell)

    def _while_wanted(self, shelf: Shelf, chunks: Iterator[FilmChunk]) -> Iterator[FilmChunk]:
        for chunk in chunks:
            if shelf.secret not in self._by_secret:  # its visitor left, or wants it no more
                raise UserError("video_gone")
            yield chunk
