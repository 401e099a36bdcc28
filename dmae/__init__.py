"""Search videos by text: DMAE + TPM-CL as a Hugging Face release (arXiv:2309.11082).

    from dmae import VideoIndex, load_pretrained

Everything here is imported on first use, so that `import dmae` costs nothing.
"""

from typing import TYPE_CHECKING

from .modeling.lazy_names import on_first_use

if TYPE_CHECKING:
    from .modeling import DmaeConfig, DmaeModel, DmaeProcessor, load_pretrained
    from .retrieval import SearchHit, VideoIndex

__version__ = "0.2.0"
__all__ = ["DmaeConfig", "DmaeModel", "DmaeProcessor", "SearchHit", "VideoIndex", "__version__", "load_pretrained"]

__getattr__ = on_first_use(
    globals(),
    {
        "modeling": ("DmaeConfig", "DmaeModel", "DmaeProcessor", "load_pretrained"),
        "retrieval": ("SearchHit", "VideoIndex"),
    },
)


def __dir__() -> list[str]:
    return sorted(__all__)
