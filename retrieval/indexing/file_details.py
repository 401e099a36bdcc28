"""What an index keeps of a file beside its embeddings."""

import io

import numpy as np
from PIL import Image

from .corpus import CorpusFile

THUMBNAIL_SIZE = (320, 320)


def state_of(file: CorpusFile) -> dict:
    """What tells the file from others, as columns. Where it changed while being read they are empty, and the next run
    encodes it again.
    """
    try:
        content_hash = file.digest()
        same = file.is_unchanged()
    except OSError:  # gone since it was decoded
        same = False
    if not same:
        return {"content_hash": None, "file_size": None, "modified": None}
    return {"content_hash": content_hash, "file_size": file.size, "modified": file.modified}


def make_thumbnail(frame: np.ndarray) -> bytes:
    """A small JPEG of a uint8 `(H, W, 3)` picture."""
    image = Image.fromarray(np.asarray(frame))
    image.thumbnail(THUMBNAIL_SIZE)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
