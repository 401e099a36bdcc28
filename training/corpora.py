"""Text-video corpora: one call that reads a folder, a Hub dataset or one of the field's four benchmarks."""

from pathlib import Path

from .folder_corpus import load_folder
from .samples import CorpusError, HardNegative, VideoSample

__all__ = ["CorpusError", "HardNegative", "VideoSample", "load_samples"]


def load_samples(
    source: str,
    split: str,
    *,
    videos: str | None = None,
    missing: str = "error",
) -> list[VideoSample]:
    """The videos of one split with their captions; one sample a video, however many captions it has.

    Args:
        source (`str`): a folder with `captions.jsonl`, `metadata.csv` or `metadata.jsonl`.
        split (`str`): "train", "val" or "test".
        videos (`str`, *optional*): the folder of the videos, where they do not lie beside their table.
        missing (`str`, *optional*, defaults to `"error"`): what to do with captions whose video file is not there:
            `"error"` refuses the corpus, `"skip"` leaves them out with a warning.

    Raises:
        CorpusError: (a `ValueError`) for a missing file or column, captions without a video, a duplicated id or an
            empty corpus: one line with what is wrong, where and what to do.
    """
    if missing not in ("error", "skip"):
        raise CorpusError(f'missing must be "error" or "skip", not {missing!r}')
    folder = Path(source).expanduser()
    samples = load_folder(folder, split, videos=Path(videos).expanduser() if videos else None, missing=missing)
    if not samples:
        raise CorpusError(f"{source}, split '{split}', is empty: not one video with a caption")
    return samples
