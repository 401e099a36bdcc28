"""Every error of the project, for `except`: all are [`DmaeError`].

    from dmae.errors import DmaeError, VideoIndexError

Each is imported on first use from where it is raised.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .modeling.errors import DmaeError, InputError, MissingPackageError, ModelError, VideoDecodeError
    from .retrieval.errors import VideoIndexError
    from .training.checkpoints import CheckpointError
    from .training.config import ConfigError
    from .training.corpora import CorpusError
    from .training.loop import TrainingError
    from .training.release.convert import ConversionError
    from .training.release.push import PublishingError

__all__ = [
    "CheckpointError",
    "ConfigError",
    "ConversionError",
    "CorpusError",
    "DmaeError",
    "InputError",
    "MissingPackageError",
    "ModelError",
    "PublishingError",
    "TrainingError",
    "VideoDecodeError",
    "VideoIndexError",
]

_HOMES = {
    **dict.fromkeys(
        ("DmaeError", "InputError", "MissingPackageError", "ModelError", "VideoDecodeError"), "modeling.errors"
    ),
    "VideoIndexError": "retrieval.errors",
    "CheckpointError": "training.checkpoints",
    "ConfigError": "training.config",
    "CorpusError": "training.corpora",
    "TrainingError": "training.loop",
    "ConversionError": "training.release.convert",
    "PublishingError": "training.release.push",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"dmae.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
