"""Merging runs of near-identical frames: fewer vectors a video, at a recall that `benchmarks/search.py` measures."""

import torch


def merge_frames(embeds: torch.Tensor, weights: torch.Tensor, times: torch.Tensor | None, above: float):
    """Replaces each run of neighbouring frames whose cosine with the run's mean is over `above` by that mean.

    A run's weight is the sum of its frames' weights, so averages over frames stay what they were; its time is that of
    its middle frame.

    Args:
        embeds: `(B, F, D)` unit-norm frames; weights: `(B, F)`, 0 for padding; times: `(B, F)` or None.
        above: cosine in (0, 1].

    Returns:
        embeds `(B, F', D)`, weights `(B, F')`, times `(B, F')` or None, padded with zeros, F' at most F.
    """
    merged = [_merge_one(e[w > 0], w[w > 0], above) for e, w in zip(embeds, weights)]
    longest = max((len(w) for _, w, _ in merged), default=1)
    out_embeds = embeds.new_zeros(len(merged), longest, embeds.shape[2])
    out_weights = weights.new_zeros(len(merged), longest)
    out_times = None if times is None else times.new_zeros(len(merged), longest)
    for row, (run_embeds, run_weights, middles) in enumerate(merged):
        out_embeds[row, : len(middles)] = run_embeds
        out_weights[row, : len(middles)] = run_weights
        if times is not None:
            out_times[row, : len(middles)] = times[row][weights[row] > 0][middles]
    return out_embeds, out_weights, out_times


def _merge_one(frames: torch.Tensor, weights: torch.Tensor, above: float):
    """A video's runs: `(R, D)` means (unit norm), `(R,)` summed weights and positions of their middle frames."""
    starts = [0]
    total = frames[0] * weights[0]
    for position in range(1, len(frames)):
        if torch.dot(frames[position], total) / total.norm().clamp(min=1e-12) > above:
            total = total + frames[position] * weights[position]
        else:
            starts.append(position)
            total = frames[position] * weights[position]
    stops = [*starts[1:], len(frames)]
    runs = list(zip(starts, stops))
    sums = torch.stack([(frames[a:b] * weights[a:b, None]).sum(0) for a, b in runs])
    embeds = sums / sums.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return embeds, torch.stack([weights[a:b].sum() for a, b in runs]), [(a + b - 1) // 2 for a, b in runs]
