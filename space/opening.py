"""Opens the model and the index that the settings name."""

import os

from .library import Library
from .settings import Settings


def open_library(settings: Settings) -> Library:
    """Loads the model, opens the index read-only and reads into memory what searches need.

    Raises:
        ValueError, OSError: there is no such model or index, or they do not belong together.
    """
    from accelerate import PartialState
    from transformers.utils import logging

    from dmae.modeling.loading import load_pretrained

    logging.disable_progress_bar()
    model, processor = load_pretrained(settings.model)
    model = model.to(PartialState().default_device)
    index = open_index(settings.index, model, processor)
    index.prepare()
    return Library(model, processor, index)


def is_on_hub(location: str) -> bool:
    known = "://" in location or location.startswith((".", "/", "~")) or os.path.exists(location)
    return not known and location.count("/") == 1


def open_index(location: str, model, processor):
    """The index at a folder, at an object store's URI, or in a dataset repository of the Hub."""
    from dmae.retrieval import VideoIndex

    if is_on_hub(location):
        return VideoIndex.from_hub(location, model, processor, videos=True)
    return VideoIndex.open(os.path.expanduser(location), model, processor, read_only=True)
