"""Every error of the project, for `except`: all are [`DmaeError`].

    from dmae.errors import DmaeError, VideoIndexError

Each is imported on first use from where it is raised.
"""

from typing import TYPE_CHECKING

from .modeling.lazy_names import on_first_use

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

__getattr__ = on_first_use(
    globals(),
    {
        "modeling.errors": ("DmaeError", "InputError", "MissingPackageError", "ModelError", "VideoDecodeError"),
        "retrieval.errors": ("VideoIndexError",),
        "training.checkpoints": ("CheckpointError",),
        "training.config": ("ConfigError",),
        "training.corpora": ("CorpusError",),
        "training.loop": ("TrainingError",),
        "training.release.convert": ("ConversionError",),
        "training.release.push": ("PublishingError",),
    },
)
