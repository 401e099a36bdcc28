"""Evaluation of a text-video model: features of a corpus, retrieval metrics, hard-negative accuracy."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from tqdm.auto import tqdm

from dmae.modeling import ModelError
from dmae.modeling.encoding import encode_texts, encode_videos, inference
from dmae.modeling.features import TextFeatures, VideoFeatures
from dmae.modeling.frame_loader import FrameLoader

from ..corpora.samples import CorpusError, HardNegative, VideoSample, merge_rows
from ..distributed import ALONE, Processes
from ..metrics.video_text_retrieval.ranking import retrieval_metrics, text_to_video_metrics, video_to_text_metrics
from .score_normalization import QueryBank, dual_softmax, softmax_prior

logger = logging.getLogger(__name__)


class SkippedVideo(NamedTuple):
    """A video that could not be read, and why."""

    video_id: str
    error: str


class EncodedSamples(NamedTuple):
    """A corpus after the model, on the CPU in float32.

    text: the A captions, video after video; where several processes encoded, this one's share of them, or None where
        there are fewer captions than processes. video: the B videos, each encoded once however many captions it has.
    text_to_video: `(A,)` the video that each caption belongs to. samples: the B samples. skipped: those left out.
    """

    text: TextFeatures | None
    video: VideoFeatures
    text_to_video: torch.Tensor
    samples: list[VideoSample]
    skipped: list[SkippedVideo]


def evaluate_model(model, processor, samples: Iterable[VideoSample], **options) -> dict[str, float]:
    """Everything measured on a corpus, as one flat dict; options as in `encode_samples` and `evaluate_encoded`."""
    names = ("batch_size", "workers", "progress", "processes")
    encode = {name: options.pop(name) for name in names if name in options}
    encoded = encode_samples(model, processor, samples, **encode)
    both = {name: encode[name] for name in ("progress", "processes") if name in encode}
    return evaluate_encoded(model, processor, encoded, **both, **options)


def encode_samples(
    model,
    processor,
    samples: Iterable[VideoSample],
    *,
    batch_size: int = 16,
    workers: int = 2,
    progress: bool = True,
    processes: Processes = ALONE,
) -> EncodedSamples:
    """Encodes videos and captions. A video that does not decode is reported, and left out with its captions.

    Args:
        model, processor: a `DmaeModel`, on the device that it shall run on, and its `DmaeProcessor`.
        samples: from `load_samples`, the same on every process. Samples of one id are one video with the captions of
            all.
        batch_size: videos encoded at once (texts: 16 times as many).
        workers: processes that decode.
        progress: whether to show progress bars.
        processes: among which the videos and the captions are dealt out; every one gets the features of all videos.

    Raises:
        CorpusError: where there is no sample, or not one video can be read.
    """
    samples = merge_rows(samples)
    if not samples:
        raise CorpusError("nothing to evaluate: there is not one video with a caption")
    progress = progress and processes.main
    video, kept, skipped = encode_readable_videos(model, processor, samples, batch_size, workers, progress, processes)
    texts = processes.share([caption for sample in kept for caption in sample.captions])
    text_to_video = [index for index, sample in enumerate(kept) for _ in sample.captions]
    text = _encode_texts(model, processor, texts, progress, batch_size=16 * batch_size) if texts else None
    return EncodedSamples(text, video, torch.tensor(text_to_video), kept, skipped)


def evaluate_encoded(
    model,
    processor,
    encoded: EncodedSamples,
    *,
    use_dual_softmax: bool = False,
    query_bank: Sequence[str] = (),
    progress: bool = True,
    processes: Processes = ALONE,
) -> dict[str, float]:
    """Metrics of encoded samples, the same on every process.

    Args:
        use_dual_softmax: also rank by `dual_softmax` and by `softmax_prior`: the same names with "dual_softmax/" and
            "softmax_prior/" before them.
        query_bank: captions of other videos (training captions), to also rank texts to videos by `QueryBank`
            normalisation: the same names with "query_bank/" before them.
        processes: those that encoded: each scores its share of the texts, and the main one ranks.

    Returns:
        `retrieval_metrics`, `hard_negative_accuracy`, and "num_videos", "num_texts", "num_skipped".

    Raises:
        ModelError: on every process, where a score is no number.
    """
    progress = progress and processes.main
    mine = None if encoded.text is None else similarity_matrix(model, encoded.text, encoded.video, progress=progress)
    require_numbers(mine, processes)
    similarity = processes.whole(mine)
    accuracies = hard_negative_accuracy(model, processor, encoded, progress=progress, processes=processes)
    bank = _query_bank(model, processor, query_bank, encoded.video, progress, processes) if query_bank else None
    metrics: dict[str, Any] = {}
    if similarity is not None:
        own = encoded.text_to_video
        metrics = {
            "num_videos": len(encoded.samples),
            "num_texts": len(own),
            "num_skipped": len(encoded.skipped),
            **retrieval_metrics(similarity, own),
            **accuracies,
        }
        if use_dual_softmax:
            metrics |= _dual_softmax_metrics(similarity, own, torch.as_tensor(model.scale).item())
        if bank is not None:
            ranked = text_to_video_metrics(bank.normalize(similarity), own)
            metrics |= {f"query_bank/{name}": value for name, value in ranked.items()}
    return processes.gather(metrics)[0]


def _dual_softmax_metrics(similarity: torch.Tensor, own: torch.Tensor, scale: float) -> dict[str, float]:
    both = retrieval_metrics(dual_softmax(similarity, scale), own)
    prior = text_to_video_metrics(softmax_prior(similarity, 0), own)
    prior |= video_to_text_metrics(softmax_prior(similarity, 1), own)
    named = {f"dual_softmax/{name}": value for name, value in both.items()}
    return named | {f"softmax_prior/{name}": value for name, value in prior.items()}


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


def require_numbers(similarity: torch.Tensor | None, processes: Processes = ALONE) -> None:
    """Raises `ModelError`, on all of the processes, where any of them holds a score that is NaN or infinite."""
    broken = 0 if similarity is None else len(similarity) - int(similarity.isfinite().all(dim=1).sum())
    if total := sum(processes.gather(broken)):
        raise ModelError(
            f"the model gives {total} texts scores that are no numbers (NaN or infinite): take --precision fp32, or, "
            "where that is no better, another checkpoint: its weights are damaged"
        )


def hard_negative_accuracy(
    model, processor, encoded: EncodedSamples, *, progress: bool = True, processes: Processes = ALONE
) -> dict[str, float]:
    """Percentage of hard negative captions that score lower with their video than the right caption that they were
    made from: "hard_negative_accuracy", and "hard_negative_accuracy/KIND" for each kind. A tie is a failure. Empty
    where the samples have no hard negatives."""
    cases = _cases(encoded.samples)
    if not cases:
        return {}
    outcomes = defaultdict(list)
    for found in processes.gather(_outcomes(model, processor, encoded.video, processes.share(cases), progress)):
        for kind, right in found:
            outcomes[kind].append(right)
    results = [result for kind in outcomes.values() for result in kind]
    by_kind = {f"hard_negative_accuracy/{kind}": _percent(outcomes[kind]) for kind in sorted(outcomes)}
    return {"hard_negative_accuracy": _percent(results), **by_kind}


def hard_negative_outcomes(model, processor, encoded: EncodedSamples) -> list[tuple[str, bool]]:
    """Of each hard negative, in order, its kind and whether the right caption scores higher."""
    return _outcomes(model, processor, encoded.video, _cases(encoded.samples), progress=False)


def _cases(samples: Sequence[VideoSample]) -> list[tuple[int, HardNegative]]:
    return [(row, negative) for row, sample in enumerate(samples) for negative in sample.hard_negatives]


def _outcomes(model, processor, video: VideoFeatures, cases: Sequence, progress: bool) -> list[tuple[str, bool]]:
    """Of each case, its kind and whether the right caption scores higher."""
    if not cases:
        return []
    texts = list(dict.fromkeys(text for _, negative in cases for text in (negative.positive, negative.caption)))
    place = {text: index for index, text in enumerate(texts)}
    features = _encode_texts(model, processor, texts, progress)
    outcomes = []
    for row, negatives in _by_video(cases):
        text = features[[place[text] for item in negatives for text in (item.positive, item.caption)]]
        scores = similarity_matrix(model, text, video[[row]], progress=False).view(-1, 2)
        pairs = zip(negatives, scores.tolist())
        outcomes += [(item.kind, positive > negative) for item, (positive, negative) in pairs]
    return outcomes


def encode_readable_videos(
    model,
    processor,
    samples: Sequence[VideoSample],
    batch_size: int,
    workers: int,
    progress: bool,
    processes: Processes = ALONE,
) -> tuple[VideoFeatures, list[VideoSample], list[SkippedVideo]]:
    """Features of the videos that could be read, on the CPU in float32, those samples, and the others.

    Raises:
        CorpusError: not one can be read.
    """
    indices, mine, errors = _encode_share(model, processor, samples, batch_size, workers, progress, processes)
    order = [index for read in processes.gather(indices) for index in read]
    unread = sorted(pair for found in processes.gather(errors) for pair in found)
    skipped = [SkippedVideo(samples[index].video_id, error) for index, error in unread]
    if not order:
        raise CorpusError(f"none of the {len(samples)} videos can be read; the first: {skipped[0].error}")
    video = processes.videos_of_all(mine)
    if processes.count > 1:
        video = video[torch.tensor(order).argsort()]
    return video, [samples[index] for index in sorted(order)], skipped


def _encode_share(
    model, processor, samples: Sequence[VideoSample], batch_size: int, workers: int, progress: bool, processes
) -> tuple[list[int], VideoFeatures | None, list[tuple[int, str]]]:
    """Of this process's videos: the indices of those that could be read, their features, and (index, error) of the
    others."""
    share = processes.share(range(len(samples)))
    indices, errors, batches, waiting = [], [], [], []
    loader = FrameLoader(
        [sample.video for sample in samples],
        processor.video_processor,
        workers=workers,
        windows=[(sample.start, sample.end) for sample in samples],
        indices=share,
    )
    with inference(model), tqdm(total=len(share), desc="videos", unit="video", disable=not progress) as bar:
        for item in loader:
            if item.error is None:
                indices.append(item.index)
                waiting.append(item.frames)
            else:
                errors.append((item.index, str(item.error)))
                logger.warning("left out: %s", item.error)
            if len(waiting) == batch_size:
                batches.append(encode_videos(model, processor, waiting, batch_size=batch_size))
                waiting.clear()
            bar.update()
        if waiting:
            batches.append(encode_videos(model, processor, waiting, batch_size=batch_size))
    return indices, VideoFeatures.cat(batches) if batches else None, errors


def _encode_texts(model, processor, texts: Sequence[str], progress: bool, **options) -> TextFeatures:
    with tqdm(total=len(texts), desc="texts", unit="text", disable=not progress) as bar:
        return encode_texts(model, processor, texts, done=bar.update, **options)


def _query_bank(
    model, processor, texts: Sequence[str], video: VideoFeatures, progress: bool, processes: Processes
) -> QueryBank:
    """A bank of any size: each process scores its share of it, a piece at a time."""
    mine, bank, whole = processes.share(texts), QueryBank(), QueryBank()
    for start in tqdm(range(0, len(mine), 4096), desc="query bank", disable=not progress):
        text = encode_texts(model, processor, mine[start : start + 4096])
        bank.add(similarity_matrix(model, text, video, progress=False))
    for part in processes.gather(bank):
        whole.include(part)
    return whole


def _by_video(cases):
    grouped = defaultdict(list)
    for row, negative in cases:
        grouped[row].append(negative)
    return grouped.items()


def _percent(outcomes: Sequence[bool]) -> float:
    return 100.0 * sum(outcomes) / len(outcomes)
