"""Opens the model and the index that the settings name."""

import os
from collections.abc import Callable

from .library import Library, OpenLibrary
from .settings import Settings


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
