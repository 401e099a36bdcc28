"""The DMAE score of queries against a few candidate videos each, with the nearest-frame table read from the index.

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
        embeds: `(..., C, F, D)` float32.
        weights: `(..., C, F)`, 0 for padding.
        nearest: `(..., C, F)` int64, n(v) of method.md.
        gains: `(..., C, F)`, g(v).
    """

    embeds: torch.Tensor
    weights: torch.Tensor
    nearest: torch.Tensor
    gains: torch.Tensor

    def as_batch(self) -> "CandidateFrames":
        """The same videos as the candidates of one query, `(1, C, …)`."""
        return CandidateFrames(*(part[None] for part in self))


def score_each(queries: TextFeatures, frames: CandidateFrames, options: ScoreOptions):
    """Scores A queries, each with C videos of its own.

    Returns:
        scores `(A, C)`, and frame scores `(A, C, F)`: half the sentence's similarity to the frame and half that of the
        word most similar to it (only the sentence's without textual attention).
    """
    used = (queries.word_weights > 0).any(dim=0)
    tokens, weights = queries.sentence_embeds[:, None], queries.word_weights[:, used]
    if options.textual_attention:
        tokens = torch.cat([tokens, queries.word_embeds[:, used]], dim=1)
    # Tokens first: a product with few rows is faster than one with few columns, and maxima run along memory.
    similarity = torch.bmm(tokens.to(frames.embeds.dtype), frames.embeds.flatten(1, 2).transpose(1, 2))
    similarity = similarity.unflatten(2, frames.weights.shape[1:])
    best, where = similarity.max(dim=3)
    if options.visual_attention:
        shape = similarity.shape
        nearest, gains = (part[:, None].expand(shape).gather(3, where[..., None]) for part in frames[2:])
        best = best + options.neighbor_weight * (gains * similarity.gather(3, nearest))[..., 0]
    shares = frames.weights / frames.weights.sum(dim=2, keepdim=True)
    sentence = similarity[:, 0]
    scores = (best[:, 0] + (sentence * shares).sum(dim=2)) / 2
    if not options.textual_attention:
        return scores, sentence
    if not weights.shape[1]:
        return scores / 2, sentence
    real = weights > 0
    words = similarity[:, 1:].masked_fill(~real[:, :, None, None], -torch.inf).amax(dim=1)
    has_words = real.any(dim=1)[:, None]
    per_frame = torch.where(has_words[..., None], words, sentence)
    weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-12)
    word_scores = torch.einsum("at,atc->ac", weights, best[:, 1:]) + (per_frame * shares).sum(dim=2)
    word_scores = has_words * word_scores / 2
    if not options.sentence:
        return word_scores, per_frame
    return (scores + word_scores) / 2, (sentence + per_frame) / 2
