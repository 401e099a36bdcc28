"""Merging runs of near-identical frames: fewer vectors per video, at a recall that `benchmarks/search.py` measures."""

import torch

from dmae.modeling.similarity import nearest_frames


def merge_frames(embeds: torch.Tensor, weights: torch.Tensor, times: torch.Tensor | None, above: float):
    """Replaces each run of neighbouring frames whose cosine with the run's mean is over `above` by that mean.

    A run's weight is the sum of its frames' weights, so averages over frames stay what they were; its time is that of
    its middle frame. The nearest frame of one in a run is almost always in the run as well: a run is its own nearest
    frame, with the mean gain of its frames, and so the visual attention adds about what it added before.

    Args:
        embeds: `(B, F, D)` unit-norm frames; weights: `(B, F)`, 0 for padding; times: `(B, F)` or None.
        above: cosine in (0, 1].

    Returns:
        embeds `(B, F', D)`, weights `(B, F')`, times `(B, F')` or None, padded with zeros, F' at most F; and the runs'
        nearest runs `(B, F')` and gains `(B, F')`, n(v) and g(v) of method.md.
    """
    runs = [_runs(e[w > 0], w[w > 0], above) for e, w in zip(embeds, weights)]
    longest = max(map(len, runs), default=1)
    out_embeds = embeds.new_zeros(len(runs), longest, embeds.shape[2])
    out_weights, own_gains = weights.new_zeros(2, len(runs), longest)
    out_times = None if times is None else times.new_zeros(len(runs), longest)
    _, frame_gains = nearest_frames(embeds, weights)
    for row, bounds in enumerate(runs):
        real = (weights[row] > 0).nonzero()[:, 0]
        for place, (start, stop) in enumerate(bounds):
            run = real[start:stop]
            out_embeds[row, place] = weights[row, run] @ embeds[row, run]
            out_weights[row, place] = weights[row, run].sum()
            if len(run) > 1:
                own_gains[row, place] = frame_gains[row, run].mean()
            if times is not None and out_times is not None:
                out_times[row, place] = times[row, real[(start + stop - 1) // 2]]
    out_embeds = torch.nn.functional.normalize(out_embeds, dim=-1)
    nearest, gains = nearest_frames(out_embeds, out_weights)
    own = own_gains > 0
    nearest, gains = torch.where(own, torch.arange(longest), nearest), torch.where(own, own_gains, gains)
    return out_embeds, out_weights, out_times, nearest, gains


def _runs(frames: torch.Tensor, weights: torch.Tensor, above: float) -> list[tuple[int, int]]:
    """Bounds of a video's runs among its `(F, D)` real frames."""
    starts = [0]
    total = frames[0] * weights[0]
    for position in range(1, len(frames)):
        if torch.dot(frames[position], total) / total.norm().clamp(min=1e-12) > above:
            total = total + frames[position] * weights[position]
        else:
            starts.append(position)
            total = frames[position] * weights[position]
    return list(zip(starts, [*starts[1:], len(frames)]))
