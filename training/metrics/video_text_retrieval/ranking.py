"""Ranks and recalls of text-video retrieval, in numpy alone, so that the metric works without this package."""

import numpy as np

RECALLS = (1, 5, 10)


def retrieval_metrics(similarity, text_to_video, chunk_size=1024):
    """Recall at 1, 5 and 10, median and mean rank, text to video ("t2v_") and video to text ("v2t_").

    Ties count against us: an item scored equal to the right one is ranked before it, so a model that gives every
    pair the same score gets the worst rank, not a perfect one. A video with several captions is found by its best
    one: its rank is 1 + the number of *other* videos' texts that score at least as high. Where there are such videos,
    "v2t_by_video_" counts as CLIP4Clip's code does, which published numbers on MSVD come from: a video is a rival
    once, by its best text, however many of its texts score higher. Videos that no text belongs to are distractors:
    they stand in the way of texts and are no queries themselves.

    Args:
        similarity (`(A, B)` array or tensor): score of each text with each video, higher is closer.
        text_to_video (`(A,)` integers): the column of the video that each text belongs to.
        chunk_size (`int`): rows or columns ranked at once; bounds the memory used besides `similarity`.

    Returns:
        `dict[str, float]`: "t2v_R@1", "t2v_R@5", "t2v_R@10" in percent, "t2v_MdR", "t2v_MnR" as ranks from 1, and
        the same with "v2t_", and with "v2t_by_video_" where a video has several texts.

    Raises:
        ValueError: for shapes that do not fit, an index outside the videos, no texts, or a score that is NaN.
    """
    similarity, text_to_video = _checked(similarity, text_to_video)
    return {
        **text_to_video_metrics(similarity, text_to_video, chunk_size),
        **video_to_text_metrics(similarity, text_to_video, chunk_size),
    }


def text_to_video_metrics(similarity, text_to_video, chunk_size=1024):
    """The "t2v_" half of `retrieval_metrics`, for scores whose rows cannot be compared with each other."""
    similarity, text_to_video = _checked(similarity, text_to_video)
    return _summary("t2v", text_to_video_ranks(similarity, text_to_video, chunk_size))


def video_to_text_metrics(similarity, text_to_video, chunk_size=1024):
    """The "v2t" half of `retrieval_metrics`, for scores whose columns cannot be compared with each other."""
    similarity, text_to_video = _checked(similarity, text_to_video)
    metrics = _summary("v2t", video_to_text_ranks(similarity, text_to_video, chunk_size))
    if len(np.unique(text_to_video)) < len(text_to_video):
        metrics |= _summary("v2t_by_video", video_by_best_text_ranks(similarity, text_to_video, chunk_size))
    return metrics


def text_to_video_ranks(similarity, text_to_video, chunk_size=1024):
    """Rank (from 1) of each text's own video, ties against it: `(A,)` integers."""
    ranks = np.empty(len(similarity), dtype=np.int64)
    for start in range(0, len(similarity), chunk_size):
        rows = similarity[start : start + chunk_size]
        own = np.take_along_axis(rows, text_to_video[start : start + chunk_size, None], axis=1)
        ranks[start : start + chunk_size] = (rows >= own).sum(axis=1)  # counts the own video, so ranks start at 1
    return ranks


def video_to_text_ranks(similarity, text_to_video, chunk_size=1024):
    """Best rank (from 1) among each video's own texts, ties against it: one integer for each video with a text."""
    videos = np.unique(text_to_video)
    ranks = np.empty(len(videos), dtype=np.int64)
    for start in range(0, len(videos), chunk_size):
        chunk = videos[start : start + chunk_size]
        columns = similarity[:, chunk]
        own = text_to_video[:, None] == chunk
        best = np.where(own, columns, -np.inf).max(axis=0)
        ranks[start : start + chunk_size] = 1 + ((columns >= best) & ~own).sum(axis=0)
    return ranks


def video_by_best_text_ranks(similarity, text_to_video, chunk_size=1024):
    """Rank of each video with a text among all such videos, each by its own best text, ties against it."""
    order = np.argsort(text_to_video, kind="stable")
    videos, starts = np.unique(text_to_video[order], return_index=True)
    ranks = np.empty(len(videos), dtype=np.int64)
    for start in range(0, len(videos), chunk_size):
        chunk = np.arange(start, min(start + chunk_size, len(videos)))
        best = np.maximum.reduceat(similarity[:, videos[chunk]][order], starts, axis=0)  # (videos, chunk)
        own = best[chunk, np.arange(len(chunk))]
        ranks[chunk] = (best >= own).sum(axis=0)  # counts the video itself, so ranks start at 1
    return ranks


def _summary(direction, ranks):
    metrics = {f"{direction}_R@{k}": float((ranks <= k).mean() * 100) for k in RECALLS}
    return {**metrics, f"{direction}_MdR": float(np.median(ranks)), f"{direction}_MnR": float(ranks.mean())}


def _checked(similarity, text_to_video):
    similarity, text_to_video = _array(similarity), _array(text_to_video)
    if similarity.ndim != 2 or text_to_video.shape != similarity.shape[:1]:
        raise ValueError(
            f"similarity must be (texts, videos) and text_to_video (texts,): got {similarity.shape} and "
            f"{text_to_video.shape}"
        )
    if not similarity.size:
        raise ValueError(f"nothing to rank: similarity has shape {similarity.shape}")
    if not np.issubdtype(text_to_video.dtype, np.integer):
        raise ValueError(f"text_to_video must hold integers, not {text_to_video.dtype}")
    if text_to_video.min() < 0 or text_to_video.max() >= similarity.shape[1]:
        raise ValueError(
            f"text_to_video names videos {text_to_video.min()} to {text_to_video.max()}, "
            f"similarity has columns 0 to {similarity.shape[1] - 1}"
        )
    bad = np.flatnonzero([np.isnan(row).any() for row in similarity])
    if len(bad):
        raise ValueError(f"similarity is NaN for {len(bad)} of {len(similarity)} texts, the first is text {bad[0]}")
    return similarity, text_to_video


def _array(values):
    if hasattr(values, "detach"):  # a torch tensor, perhaps on a GPU or bfloat16, which numpy does not know
        values = values.detach().cpu()
        values = values.float() if values.dtype.itemsize < 4 else values
    return np.asarray(values)
