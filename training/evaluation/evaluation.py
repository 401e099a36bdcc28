"""Evaluation of a text-video model: features of a corpus, retrieval metrics, hard-negative accuracy."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from tqdm.auto import tqdm

from dmae.modeling.encoding import encode_texts, encode_videos, inference
from dmae.modeling.features import TextFeatures, VideoFeatures
from dmae.modeling.frame_loader import FrameLoader

from ..corpora.samples import CorpusError, VideoSample, merge_rows
from ..metrics.video_text_retrieval.ranking import retrieval_metrics, text_to_video_metrics, video_to_text_metrics
from .score_normalization import QueryBank, dual_softmax, softmax_prior

__all__ = [
    "EncodedSamples",
    "SkippedVideo",
    "encode_readable_videos",
    "encode_samples",
    "evaluate_encoded",
    "evaluate_model",
    "hard_negative_accuracy",
    "retrieval_metrics",
    "similarity_matrix",
]

logger = logging.getLogger(__name__)


class SkippedVideo(NamedTuple):
    """A video that could not be read, and why."""

    video_id: str
    error: str


class EncodedSamples(NamedTuple):
    """A corpus after the model, on the CPU in float32.

    text: the A captions, video after video. video: the B videos, each encoded once however many captions it has.
    text_to_video: `(A,)` the video that each caption belongs to. samples: the B samples. skipped: those left out.
    """

    text: TextFeatures
    video: VideoFeatures
    text_to_video: torch.Tensor
    samples: list[VideoSample]
    skipped: list[SkippedVideo]


def evaluate_model(model, processor, samples: Iterable[VideoSample], **options) -> dict[str, float]:
    """Everything measured on a corpus, as one flat dict; options as in `encode_samples` and `evaluate_encoded`."""
    encode = {name: options.pop(name) for name in ("batch_size", "workers", "progress") if name in options}
    encoded = encode_samples(model, processor, samples, **encode)
    return evaluate_encoded(model, processor, encoded, progress=encode.get("progress", True), **options)


def encode_samples(
    model, processor, samples: Iterable[VideoSample], *, batch_size: int = 16, workers: int = 2, progress: bool = True
) -> EncodedSamples:
    """Encodes videos and captions. A video that does not decode is reported, and left out with its captions.

    Args:
        model, processor: a `DmaeModel`, on the device that it shall run on, and its `DmaeProcessor`.
        samples: from `load_samples`. Samples of one id are one video with the captions of all.
        batch_size: videos encoded at once (texts: 16 times as many).
        workers: processes that decode.
        progress: whether to show progress bars.

    Raises:
        CorpusError: where there is no sample, or not one video can be read.
    """
    samples = merge_rows(samples)
    if not samples:
        raise CorpusError("nothing to evaluate: there is not one video with a caption")
    video, kept, skipped = encode_readable_videos(model, processor, samples, batch_size, workers, progress)
    texts = [caption for sample in kept for caption in sample.captions]
    text_to_video = [index for index, sample in enumerate(kept) for _ in sample.captions]
    text = _encode_texts(model, processor, texts, progress, batch_size=16 * batch_size)
    return EncodedSamples(text, video, torch.tensor(text_to_video), kept, skipped)


def evaluate_encoded(
    model,
    processor,
    encoded: EncodedSamples,
    *,
    use_dual_softmax: bool = False,
    query_bank: Sequence[str] = (),
    progress: bool = True,
) -> dict[str, float]:
    """Metrics of encoded samples.

    Args:
        use_dual_softmax: also rank by `dual_softmax` and by `softmax_prior`: the same names with "dual_softmax/" and
            "softmax_prior/" before them.
        query_bank: captions of other videos (training captions), to also rank texts to videos by `QueryBank`
            normalisation: the same names with "query_bank/" before them.

    Returns:
        `retrieval_metrics`, `hard_negative_accuracy`, and "num_videos", "num_texts", "num_skipped".
    """
    similarity = similarity_matrix(model, encoded.text, encoded.video, progress=progress)
    metrics = {
        "num_videos": len(encoded.samples),
        "num_texts": len(encoded.text_to_video),
        "num_skipped": len(encoded.skipped),
        **retrieval_metrics(similarity, encoded.text_to_video),
        **hard_negative_accuracy(model, processor, encoded, progress=progress),
    }
    if use_dual_softmax:
        own, scale = encoded.text_to_video, torch.as_tensor(model.scale).item()
        both = retrieval_metrics(dual_softmax(similarity, scale), own)
        prior = text_to_video_metrics(softmax_prior(similarity, 0), own)
        prior |= video_to_text_metrics(softmax_prior(similarity, 1), own)
        metrics |= {f"dual_softmax/{k}": v for k, v in both.items()}
        metrics |= {f"softmax_prior/{k}": v for k, v in prior.items()}
    if query_bank:
        bank = QueryBank(_bank_scores(model, processor, query_bank, encoded.video, progress))
        scores = bank.normalize(similarity)
        metrics |= {f"query_bank/{k}": v for k, v in text_to_video_metrics(scores, encoded.text_to_video).items()}
    return metrics


def similarity_matrix(
    model, text: TextFeatures, video: VideoFeatures, *, chunk_size: int = 512, progress: bool = True
) -> torch.Tensor:
    """`(A, B)` float32 scores on the CPU, computed `chunk_size` texts at a time on the model's device."""
    video = video.to(model.device, torch.float32)
    scores = torch.empty(len(text.word_embeds), len(video.frame_embeds))
    with inference(model), tqdm(total=len(scores), desc="scores", unit="text", disable=not progress) as bar:
        for rows in torch.arange(len(scores)).split(chunk_size):
            scores[rows] = model.similarity(text[rows].to(model.device, torch.float32), video).cpu()
            bar.update(len(rows))
    return scores


def hard_negative_accuracy(model, processor, encoded: EncodedSamples, *, progress: bool = True) -> dict[str, float]:
    """Percentage of hard negative captions that score lower with their video than the right caption that they were
    made from: "hard_negative_accuracy", and "hard_negative_accuracy/KIND" for each kind. A tie is a failure. Empty
    where the samples have no hard negatives."""
    cases = [(row, negative) for row, sample in enumerate(encoded.samples) for negative in sample.hard_negatives]
    if not cases:
        return {}
    texts = list(dict.fromkeys(text for _, negative in cases for text in (negative.positive, negative.caption)))
    place = {text: index for index, text in enumerate(texts)}
    features = _encode_texts(model, processor, texts, progress)
    outcomes = defaultdict(list)
    for row, negatives in _by_video(cases):
        text = features[[place[text] for item in negatives for text in (item.positive, item.caption)]]
        scores = similarity_matrix(model, text, encoded.video[[row]], progress=False).view(-1, 2)
        for item, (positive, negative) in zip(negatives, scores.tolist()):
            outcomes[item.kind].append(positive > negative)
    results = [result for kind in outcomes.values() for result in kind]
    by_kind = {f"hard_negative_accuracy/{kind}": _percent(outcomes[kind]) for kind in sorted(outcomes)}
    return {"hard_negative_accuracy": _percent(results), **by_kind}


def encode_readable_videos(
    model, processor, samples: Sequence[VideoSample], batch_size: int, workers: int, progress: bool
) -> tuple[VideoFeatures, list[VideoSample], list[SkippedVideo]]:
    """Features of the videos that could be read, on the CPU in float32, those samples, and the others.

    Raises:
        CorpusError: not one can be read.
    """
    kept, skipped, batches, waiting = [], [], [], []
    windows = [(sample.start, sample.end) for sample in samples]
    sources = [sample.video for sample in samples]
    loader = FrameLoader(sources, processor.video_processor, workers=workers, windows=windows)
    with inference(model), tqdm(total=len(samples), desc="videos", unit="video", disable=not progress) as bar:
        for item in loader:
            sample = samples[item.index]
            if item.error is None:
                kept.append(sample)
                waiting.append(item.frames)
            else:
                skipped.append(SkippedVideo(sample.video_id, str(item.error)))
                logger.warning("left out: %s", item.error)
            if len(waiting) == batch_size:
                batches.append(encode_videos(model, processor, waiting, batch_size=batch_size))
                waiting.clear()
            bar.update()
        if waiting:
            batches.append(encode_videos(model, processor, waiting, batch_size=batch_size))
    if not batches:
        raise CorpusError(f"none of the {len(samples)} videos can be read; the first: {skipped[0].error}")
    return VideoFeatures.cat(batches), kept, skipped


def _encode_texts(model, processor, texts: Sequence[str], progress: bool, **options) -> TextFeatures:
    with tqdm(total=len(texts), desc="texts", unit="text", disable=not progress) as bar:
        return encode_texts(model, processor, texts, done=bar.update, **options)


def _bank_scores(
    model, processor, texts: Sequence[str], video: VideoFeatures, progress: bool
) -> Iterator[torch.Tensor]:
    """Scores of a bank of any size, a piece at a time."""
    for start in tqdm(range(0, len(texts), 4096), desc="query bank", disable=not progress):
        text = encode_texts(model, processor, texts[start : start + 4096])
        yield similarity_matrix(model, text, video, progress=False)


def _by_video(cases):
    grouped = defaultdict(list)
    for row, negative in cases:
        grouped[row].append(negative)
    return grouped.items()


def _percent(outcomes: Sequence[bool]) -> float:
    return 100.0 * sum(outcomes) / len(outcomes)
