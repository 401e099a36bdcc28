"""Why a video was found: how each word of a text matches each of its frames."""

from dataclasses import dataclass

import numpy as np

from ..errors import VideoIndexError
from ..inputs import check_ids
from ..storage.filters import make_where
from .query import encode_texts
from .resident import FRAME_COLUMNS, frames_of
from .scoring import ScoreOptions, score_candidates


@dataclass(frozen=True, eq=False)
class Explanation:
    """The parts of one score.

    Attributes:
        score: the DMAE score.
        words: the T tokens of the text. word_weights: `(T,)` their weights in the score.
        frame_times: `(F,)` seconds, empty where unknown.
        similarity: `(T, F)` cosine of each word and each frame.
        sentence_similarity: `(F,)` cosine of the whole sentence and each frame.
    """

    score: float
    words: list[str]
    word_weights: np.ndarray
    frame_times: np.ndarray
    similarity: np.ndarray
    sentence_similarity: np.ndarray


def explain(index, text: str, video_id: str) -> Explanation:
    """See `VideoIndex.explain`.

    Raises:
        VideoIndexError: an empty text, or an id that is not in the index.
    """
    query = encode_texts(index.model, index.processor, [text])
    rows = index.table.scan([*FRAME_COLUMNS, "frame_times"], make_where({"id": check_ids([video_id])}))
    if not rows.num_rows:
        raise VideoIndexError(f"no video {video_id!r} in the index at {index.uri}")
    settings = index.table.settings
    frames = frames_of(rows, settings.dim, settings.dtype)
    score, _ = score_candidates(query, frames, ScoreOptions.of(index.model.config))
    real = query.word_weights[0] > 0
    ids = index.processor(text=[text])["input_ids"][0]
    return Explanation(
        score=float(score),
        words=[index.processor.tokenizer.decode([token]).strip() for token, keep in zip(ids, real.tolist()) if keep],
        word_weights=query.word_weights[0, real].numpy(),
        frame_times=np.asarray(rows["frame_times"][0].as_py(), dtype=np.float64),
        similarity=(query.word_embeds[0, real] @ frames.embeds[0].t()).numpy(),
        sentence_similarity=(query.sentence_embeds @ frames.embeds[0].t())[0].numpy(),
    )
