"""Queries of every kind as text features: what `search_embeddings` takes.

A text is what the model makes of it. An image is a video of one frame. A video as a query stands in the place of a
text: its frames are the words, with their weights, and are scored as `scoring.EXAMPLE_OPTIONS` says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from dmae.modeling.encoding import encode_texts, encode_videos
from dmae.modeling.features import TextFeatures, VideoFeatures
from dmae.modeling.picture_reading import is_picture, read_picture
from dmae.modeling.video_reading import VideoFrames

from ..errors import VideoIndexError
from ..inputs import as_tensor, as_unicode
from ..media import names_media
from .scoring import EXAMPLE_OPTIONS, ScoreOptions


@dataclass(frozen=True, eq=False)
class EncodedQuery:
    """A query after the model, to search with as often as one likes. `VideoIndex.encode` makes it.

    Attributes:
        features: of a batch of one: `(1, D)`, `(1, T, D)`, `(1, T)`, on the CPU in float32.
        text: what was asked, None where the query is an image or a video.
    """

    features: TextFeatures
    text: str | None = None

    @property
    def options(self) -> ScoreOptions | None:
        """How it is scored; None for the model's own options."""
        return EXAMPLE_OPTIONS if self.text is None else None


def is_text(query: Any) -> bool:
    """Whether a query is a text rather than an image, a video or the path of one."""
    return isinstance(query, str) and not names_media(query)


def encode_queries(model, processor, queries: Sequence[Any]) -> list[EncodedQuery]:
    """Texts (in one batch), images and videos; what is encoded already is taken as it is.

    Raises:
        VideoIndexError: one that is empty, or no text, image or video. VideoDecodeError: one that cannot be read.
    """
    texts = list(dict.fromkeys(query for query in queries if is_text(query)))
    encoded = dict(zip(texts, encode_text_queries(model, processor, texts))) if texts else {}
    found = []
    for query in queries:
        if isinstance(query, EncodedQuery):
            found.append(query)
        else:
            found.append(encoded[query] if is_text(query) else encode_example(model, processor, query))
    return found


def encode_text_queries(model, processor, texts: Sequence[str]) -> list[EncodedQuery]:
    """Texts as queries, whatever they look like: a text that names a file is not taken for the file."""
    for text in texts:
        if not isinstance(text, str):
            raise VideoIndexError(f"the query must be a text, got {type(text).__name__}")
        if not text.strip():
            raise VideoIndexError("the query is empty: write what the video should show")
    whole = [as_unicode(text) for text in texts]
    features = encode_texts(model, processor, whole)
    return [EncodedQuery(features[n : n + 1], text) for n, text in enumerate(whole)]


def encode_example(model, processor, example: Any) -> EncodedQuery:
    """An image or a video as a query."""
    return EncodedQuery(_as_query(encode_videos(model, processor, [_as_video(example)])))


def words_of(processor, query: EncodedQuery) -> list[tuple[str, list[int]]]:
    """What an explanation has a row for, with the positions of its tokens: the words of a text as they were written,
    or the frames of an example.
    """
    if query.text is None:
        return [(f"frame {n + 1}", [n]) for n in range(int((query.features.word_weights[0] > 0).sum()))]
    return processor.words(query.text)


def _as_query(video: VideoFeatures) -> TextFeatures:
    """A video's features in the place of a text's."""
    weights = video.frame_mask / video.frame_mask.sum(dim=1, keepdim=True)
    sentence = F.normalize(torch.einsum("bf,bfd->bd", weights, video.frame_embeds), dim=-1)
    return TextFeatures(sentence, video.frame_embeds, video.frame_mask)


def check_features(sentence_embeds, word_embeds, word_weights, dim: int) -> TextFeatures:
    """A caller's features as float32 tensors on the CPU; raises where shapes are wrong or a value is not finite."""
    given = {"sentence_embeds": sentence_embeds, "word_embeds": word_embeds, "word_weights": word_weights}
    parts = [as_tensor(part, name).float() for name, part in given.items()]
    sentence, words, weights = parts
    shapes = ", ".join(str(tuple(part.shape)) for part in parts)
    if sentence.ndim != 2 or words.ndim != 3 or weights.shape != words.shape[:2] or len(words) != len(sentence):
        raise VideoIndexError(f"query features must have shapes (A, D), (A, T, D), (A, T), got {shapes}")
    if sentence.shape[1] != dim or words.shape[2] != dim:
        raise VideoIndexError(
            f"query features have shapes {shapes}, the index has dimension {dim}: use the model it was made with"
        )
    if not all(torch.isfinite(part).all() for part in parts) or (weights < 0).any():
        raise VideoIndexError("query features hold NaN, infinity or a negative weight")
    return TextFeatures(*parts)


def _as_video(example):
    """What the processor takes for this example; an image becomes a video of one frame."""
    if isinstance(example, (str, Path)):
        path = Path(example).expanduser()
        if not path.is_file():
            raise VideoIndexError(f"no file {path}: give an existing image or video, or write a text")
        return read_picture(path) if is_picture(path) else str(path)
    if isinstance(example, Image.Image):
        return read_picture(example)
    if isinstance(example, np.ndarray) and example.ndim != 4:
        if example.dtype != np.uint8 or example.ndim != 3 or example.shape[2] != 3:
            raise VideoIndexError(
                f"an array as a query is an image, uint8 (H, W, 3), or a video, (F, H, W, 3), "
                f"got {example.dtype} {example.shape}"
            )
        return read_picture(Image.fromarray(example))
    if isinstance(example, (bytes, dict)) or hasattr(example, "read"):
        return read_picture(example) if is_picture(example) else example
    if isinstance(example, (VideoFrames, np.ndarray)):
        return example
    raise VideoIndexError(f"a query is a text, an image or a video, got {type(example).__name__}")
