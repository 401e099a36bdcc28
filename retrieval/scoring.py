"""The DMAE score of one query against a few candidate videos, with the nearest-frame table read from the index.

The same number as `dmae.modeling.dmae_similarity` (a test holds them together); what differs is that the video side's
attention comes ready, and that the scores of single frames come out as well.
"""

from typing import NamedTuple

import torch

from dmae.modeling.features import TextFeatures


class ScoreOptions(NamedTuple):
    """The options of the similarity, as `DmaeConfig` names them; `sentence` False leaves the words' score alone."""

    textual_attention: bool = True
    visual_attention: bool = True
    neighbor_weight: float = 0.5
    sentence: bool = True

    @classmethod
    def of(cls, config) -> "ScoreOptions":
        return cls(*(getattr(config, name, default) for name, default in cls._field_defaults.items()))


# Query by example compares frames with frames, both ways and nothing else: 1 for the very same video, the most there
# is. With the visual attention or the mean frame in it, a film of one still picture would come before the example
# itself.
EXAMPLE_OPTIONS = ScoreOptions(visual_attention=False, sentence=False)


class CandidateFrames(NamedTuple):
    """Frames of C videos as the index keeps them; a padded position repeats the video's first frame with weight 0.

    Attributes:
        embeds: `(C, F, D)` float32.
        weights: `(C, F)`, 0 for padding.
        nearest: `(C, F)` int64, n(v) of method.md.
        gains: `(C, F)`, g(v).
    """

    embeds: torch.Tensor
    weights: torch.Tensor
    nearest: torch.Tensor
    gains: torch.Tensor


def score_candidates(query: TextFeatures, frames: CandidateFrames, options: ScoreOptions):
    """Scores one query against C videos.

    Args:
        query: features of a single text, `(1, D)`, `(1, T, D)`, `(1, T)`.

    Returns:
        scores `(C,)`, and frame scores `(C, F)`: half the sentence's similarity to the frame and half that of the
        word most similar to it (only the sentence's without textual attention).
    """
    real = query.word_weights[0] > 0
    words = query.word_embeds[0, real] if options.textual_attention else query.word_embeds[0, :0]
    weights = query.word_weights[0, real]
    tokens = torch.cat([query.sentence_embeds, words]).to(frames.embeds.dtype)
    count, num_frames, dim = frames.embeds.shape
    similarity = (frames.embeds.view(-1, dim) @ tokens.t()).view(count, num_frames, len(tokens))
    best, where = similarity.max(dim=1)
    if options.visual_attention:
        nearest = similarity.gather(1, frames.nearest.gather(1, where)[:, None])[:, 0]
        best = best + options.neighbor_weight * frames.gains.gather(1, where) * nearest
    frame_weights = frames.weights / frames.weights.sum(dim=1, keepdim=True)
    sentence = similarity[:, :, 0]
    scores = (best[:, 0] + (sentence * frame_weights).sum(dim=1)) / 2
    if not options.textual_attention:
        return scores, sentence
    if not len(words):
        return scores / 2, sentence
    per_frame = similarity[:, :, 1:].amax(dim=2)
    word_scores = (best[:, 1:] @ (weights / weights.sum()) + (per_frame * frame_weights).sum(dim=1)) / 2
    if not options.sentence:
        return word_scores, per_frame
    return (scores + word_scores) / 2, (sentence + per_frame) / 2
