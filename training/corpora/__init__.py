"""What a text-video corpus is and where it comes from: a folder, a Hub dataset or one of the field's benchmarks."""

from .loading import load_samples
from .samples import CorpusError, HardNegative, VideoSample

__all__ = ["CorpusError", "HardNegative", "VideoSample", "load_samples"]
