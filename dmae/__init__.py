"""Search videos by text: DMAE + TPM-CL as a Hugging Face release (arXiv:2309.11082).

    from dmae import VideoIndex, load_pretrained

Everything here is imported on first use, so that `import dmae` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .modeling import DmaeConfig, DmaeModel, DmaeProcessor, load_pretrained
    from .retrieval import SearchHit, VideoIndex

__version__ = "0.2.0"
__all__ = ["DmaeConfig", "DmaeModel", "DmaeProcessor", "SearchHit", "VideoIndex", "__version__", "load_pretrained"]

_HOMES = {
    "DmaeConfig": "modeling",
    "DmaeModel": "modeling",
    "DmaeProcessor": "modeling",
    "load_pretrained": "modeling",
    "SearchHit": "retrieval",
    "VideoIndex": "retrieval",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
