"""Everything behind the page, made once and shared by all visitors."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dmae.modeling import VideoLimits, is_picture, is_url

from .decoding import Decoder
from .distant_videos import DistantVideos
from .following import Follower
from .library import Library, OpenLibrary, Query
from .media import Media
from .settings import Settings
from .texts import UserError
from .uploads import Shelves

WORKERS = 2  # processes that decode: while one reads a long video that somebody added, the other serves pictures


@dataclass
class Services:
    """The library, the visitors' shelves, the decoder and the media routes."""

    settings: Settings
    library: Library
    decoder: Decoder
    shelves: Shelves
    media: Media
    follower: Follower | None = None

    @classmethod
    def open(cls, settings: Settings, tell: Callable[..., None]) -> "Services":
        """Loads the model and opens the index that the settings name; see `open_library` for what it raises."""
        follower = Follower(settings) if settings.watch else None
        decoder = Decoder(workers=WORKERS)
        library = open_library(settings, tell)
        shelves = Shelves(library, decoder, settings)
        distant = DistantVideos(settings.videos) if is_url(settings.videos) else None
        root = Path(settings.videos) if settings.videos else None
        if root is None and isinstance(library, OpenLibrary) and is_on_hub(settings.index):
            root = Path(library.index.uri).parent  # the snapshot, to which a shared index's paths are relative
        return cls(settings, library, decoder, shelves, Media(library, shelves, decoder, root, distant), follower)

    def start(self) -> None:
        """Starts what runs behind the page, which needs none of it to come up."""
        threading.Thread(target=self.decoder.warm_up, daemon=True, name="warm up").start()
        self.shelves.sweep_forever()
        if self.follower is not None:
            self.follower.start()

    def ask_example(self, file: str | None) -> Query:
        """An image or a video that a visitor sent as a query; the file is deleted then.

        Raises:
            UserError, VideoDecodeError: it cannot be read.
        """
        if not file:
            raise UserError("choose_example")
        try:
            if not isinstance(self.library, OpenLibrary):
                raise UserError("reads_texts")
            if is_picture(file):
                frames = self.decoder.read_image(file)
            else:
                limits = VideoLimits(max_duration=self.settings.max_seconds)
                frames = self.decoder.read(file, limits=limits, **self.library.processor.video_processor.read_options)
            return self.library.ask_example(frames, os.path.basename(file))
        finally:
            Path(file).unlink(missing_ok=True)

    def close(self) -> None:
        if self.follower is not None:
            self.follower.stop()
        self.shelves.close()
        self.decoder.close()


def open_library(settings: Settings, tell: Callable[..., None]) -> Library:
    """Loads the model, opens the index read-only and reads into memory what searches need, telling how far it is; or
    asks the search service that stands in for both.

    Raises:
        ValueError, OSError: there is no such model or index, or they do not belong together.
        ServerError: there is no such service.
    """
    if settings.backend:
        from .remote_library import RemoteLibrary

        tell(2, "step_service")
        return RemoteLibrary(settings.backend)
    from accelerate import PartialState
    from transformers.utils import logging

    from dmae.modeling import load_pretrained, place

    logging.disable_progress_bar()
    tell(2, "step_model")
    model, processor = load_pretrained(settings.model)
    model = place(model, PartialState().default_device, settings.precision or None)
    tell(3, "step_index")
    index = open_index(settings.index, model, processor, create=bool(settings.watch))
    index.prepare(lambda done, count: tell(3, "step_index", f"{done:,} / {count:,} ({done / count:.0%})"))
    return OpenLibrary(model, processor, index)


def is_on_hub(location: str) -> bool:
    known = "://" in location or location.startswith((".", "/", "~")) or os.path.exists(location)
    return not known and location.count("/") == 1


def open_index(location: str, model, processor, *, create: bool = False):
    """The index at a folder, at an object store's URI, or in a dataset repository of the Hub.

    Args:
        create: where there is none, make an empty one, which something else is going to fill.
    """
    from dmae.retrieval import VideoIndex

    if is_on_hub(location) and not create:
        return VideoIndex.from_hub(location, model, processor, videos=True)
    location = os.path.expanduser(location)
    if create and not VideoIndex.exists(location):
        VideoIndex.create(location, model, processor)
    return VideoIndex.open(location, model, processor, read_only=True)
