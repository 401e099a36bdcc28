"""Queries of every kind as text features: what `search_embeddings` takes.

A text is what the model makes of it. An image is a video of one frame. A video as a query stands in the place of a
text: its frames are the words, with their weights, and are scored as `scoring.EXAMPLE_OPTIONS` says.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from dmae.modeling.features import TextFeatures, VideoFeatures
from dmae.modeling.video_reading import VideoFrames

from ..errors import VideoIndexError
from ..media import IMAGE_SUFFIXES, names_media
from ..tensors import as_tensor


def is_text(query) -> bool:
    """Whether a query is a text rather than an image, a video or the path of one."""
    return isinstance(query, str) and not names_media(query)


@torch.inference_mode()
def encode_texts(model, processor, texts: Sequence[str]) -> TextFeatures:
    """Features of texts, on the CPU in float32."""
    for text in texts:
        if not isinstance(text, str):
            raise VideoIndexError(f"the query must be a text, got {type(text).__name__}")
        if not text.strip():
            raise VideoIndexError("the query is empty: write what the video should show")
    inputs = processor(text=list(texts), return_tensors="pt").to(model.device)
    features = model.get_text_features(inputs["input_ids"], inputs["attention_mask"], inputs.get("word_weights"))
    return TextFeatures(*(part.cpu().float() for part in features))


@torch.inference_mode()
def encode_examples(model, processor, examples: Sequence) -> TextFeatures:
    """Images or videos as queries: `(A, D)`, `(A, T, D)`, `(A, T)`, on the CPU in float32.

    Raises:
        VideoIndexError: one that is no image or video. VideoDecodeError: one that cannot be read.
    """
    return pad_features([_as_query(_encode_example(model, processor, example)) for example in examples])


def _encode_example(model, processor, example) -> VideoFeatures:
    inputs = processor(videos=[_as_video(example)], return_tensors="pt").to(model.device)
    features = model.get_video_features(inputs["pixel_values_videos"], inputs.get("frame_mask"))
    return VideoFeatures(*(part.cpu().float() for part in features))


def _as_query(video: VideoFeatures) -> TextFeatures:
    """A video's features in the place of a text's."""
    weights = video.frame_mask / video.frame_mask.sum(dim=1, keepdim=True)
    sentence = F.normalize(torch.einsum("bf,bfd->bd", weights, video.frame_embeds), dim=-1)
    return TextFeatures(sentence, video.frame_embeds, video.frame_mask)


def pad_features(features: Sequence[TextFeatures]) -> TextFeatures:
    """Single queries as one batch, words padded with weight 0."""
    longest = max(f.word_embeds.shape[1] for f in features)
    words = [F.pad(f.word_embeds, (0, 0, 0, longest - f.word_embeds.shape[1])) for f in features]
    weights = [F.pad(f.word_weights, (0, longest - f.word_weights.shape[1])) for f in features]
    return TextFeatures(torch.cat([f.sentence_embeds for f in features]), torch.cat(words), torch.cat(weights))


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
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            return str(path)
        try:
            with Image.open(path) as image:
                return _one_frame(image)
        except OSError as error:
            raise VideoIndexError(f"{path} cannot be read as an image: {error}") from None
    if isinstance(example, Image.Image):
        return _one_frame(example)
    if isinstance(example, np.ndarray) and example.ndim != 4:
        if example.dtype != np.uint8 or example.ndim != 3 or example.shape[2] != 3:
            raise VideoIndexError(
                f"an array as a query is an image, uint8 (H, W, 3), or a video, (F, H, W, 3), "
                f"got {example.dtype} {example.shape}"
            )
        return _one_frame(Image.fromarray(example))
    if isinstance(example, (bytes, dict, VideoFrames, np.ndarray)) or hasattr(example, "read"):
        return example
    raise VideoIndexError(f"a query is a text, an image or a video, got {type(example).__name__}")


def _one_frame(image: Image.Image) -> VideoFrames:
    frames = np.array(image.convert("RGB"))[None]
    return VideoFrames(frames=frames, timestamps=np.zeros(1), duration=0.0, fps=None)
