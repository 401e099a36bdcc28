"""DMAE similarity: token-wise interaction with visual and textual attention (paper section 3.2; method.md).

Padding is excluded by giving each padded token the embedding of a real one of the same item: a duplicate changes no
maximum, and its weight in the averages is 0. That leaves a plain matrix product with no masked pass over its result.
"""

import torch
from torch.utils.checkpoint import checkpoint

DEFAULT_CHUNK_SIZE = 64


def dmae_similarity(
    sentence_embeds: torch.Tensor,
    word_embeds: torch.Tensor,
    word_weights: torch.Tensor,
    frame_embeds: torch.Tensor,
    frame_mask: torch.Tensor,
    *,
    text_attention: bool = True,
    visual_attention: bool = True,
    neighbor_weight: float = 0.5,
    chunk_size: int | None = None,
) -> torch.Tensor:
    """Scores every text against every video.

    Args:
        sentence_embeds: `(A, D)` sentence embeddings, unit norm.
        word_embeds: `(A, T, D)` word token embeddings, unit norm.
        word_weights: `(A, T)` weight of each word token; 0 marks padding, which never changes a score.
        frame_embeds: `(B, F, D)` frame embeddings, unit norm.
        frame_mask: `(B, F)` 1 for a frame, 0 for padding (other positive values weigh the frames' average).
        text_attention: average the sentence's score with the words' (else only the sentence is scored).
        visual_attention: add the nearest other frame of each best frame, scaled by `neighbor_weight`.
        neighbor_weight: λ of the visual attention.
        chunk_size: texts and videos in a block (default 64). Memory holds one block of
            `chunk_size² × T × F` token similarities at a time; in training each is recomputed in the backward.

    Returns:
        `(A, B)` scores in the inputs' dtype. Words or frames that are all padding count 0.

    Raises:
        ValueError: shapes that do not belong together. TypeError: dtypes that are not one floating dtype.

    Example:
        >>> x = torch.eye(2)
        >>> dmae_similarity(x, x[:, None], torch.ones(2, 1), x[:, None], torch.ones(2, 1))
        tensor([[1., 0.],
                [0., 1.]])
    """
    _check_inputs(sentence_embeds, word_embeds, word_weights, frame_embeds, frame_mask)
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")
    size = chunk_size or DEFAULT_CHUNK_SIZE
    dtype = word_embeds.dtype
    videos = _video_blocks(frame_embeds, frame_mask, neighbor_weight if visual_attention else None, size)
    rows = []
    for sentence, words, weights in zip(*(t.split(size) for t in (sentence_embeds, word_embeds, word_weights))):
        tokens = sentence[:, None]
        if text_attention:
            tokens = torch.cat([tokens, _pad_with_real(words, weights)], dim=1)
        text = tokens, _normalise(weights, dtype)
        rows.append(torch.cat([_block(*text, *video) for video in videos], dim=1) if videos else tokens[:, 0, :0])
    return torch.cat(rows).to(dtype) if rows else frame_embeds.new_zeros(0, len(frame_embeds))


def nearest_frames(frame_embeds: torch.Tensor, frame_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The nearest other real frame `n(v)` of each frame and its gain `g(v)` (method.md, visual attention).

    They depend on the video alone, so an index stores them.

    Args:
        frame_embeds: `(B, F, D)` unit-norm frame embeddings.
        frame_mask: `(B, F)` positive for real frames, 0 for padding.

    Returns:
        index `(B, F)` int64 and gain `(B, F)` in `[0, 1]`, 0 where a video has a single frame. A padded frame carries
        the values of its video's first real frame.
    """
    real = frame_mask > 0
    frame_embeds = _pad_with_real(frame_embeds, frame_mask)
    cosine = frame_embeds @ frame_embeds.transpose(1, 2)
    itself = torch.eye(frame_embeds.shape[1], dtype=torch.bool, device=frame_embeds.device)
    cosine = cosine.masked_fill(itself | ~real[:, None, :], -torch.inf)
    gain, index = cosine.max(dim=2)
    gain = gain.clamp(min=0)  # also turns the -inf of a lone frame into 0
    first = _first_real(frame_mask)
    return (
        torch.where(real, index, index.gather(1, first)),
        torch.where(real, gain, gain.gather(1, first)),
    )


def _video_blocks(
    frame_embeds: torch.Tensor, frame_mask: torch.Tensor, neighbor_weight: float | None, size: int
) -> list[tuple[torch.Tensor, ...]]:
    """What `_block_scores` takes of `size` videos at a time; without a `neighbor_weight`, no neighbours.

    Frames lead and videos trail, so that maxima over frames run along contiguous memory.
    """
    frame_embeds = _pad_with_real(frame_embeds, frame_mask)
    parts = [_normalise(frame_mask, frame_embeds.dtype)]
    if neighbor_weight is not None:
        index, gain = nearest_frames(frame_embeds, frame_mask)
        parts += [index, neighbor_weight * gain.to(parts[0].dtype)]
    frames = [block.transpose(0, 1).contiguous() for block in frame_embeds.split(size)]
    return list(zip(frames, *(part.t().split(size, dim=1) for part in parts)))


def _block(*tensors: torch.Tensor) -> torch.Tensor:
    """`_block_scores`, keeping only its inputs for the backward."""
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return checkpoint(_block_scores, *tensors, use_reentrant=False, preserve_rng_state=False)
    return _block_scores(*tensors)


def _block_scores(tokens, word_weights, frames, frame_weights, neighbor_index=None, neighbor_gain=None):
    """`(a, b)` scores of tokens `(a, 1 + T, D)`, the sentence first, and frames `(F, b, D)`."""
    (a, num_tokens, dim), (num_frames, b, _) = tokens.shape, frames.shape
    similarity = tokens.reshape(-1, dim) @ frames.view(-1, dim).t()
    # Averages of half-precision similarities are taken in float32.
    similarity = similarity.view(a, num_tokens, num_frames, b).to(frame_weights.dtype)
    if neighbor_index is None or neighbor_gain is None:
        best = similarity.amax(dim=2)
    else:
        where = _best_frame(similarity.detach())
        best = similarity.gather(2, where)
        position = where * b + torch.arange(b, device=where.device)
        nearest = similarity.gather(2, neighbor_index.take(position))
        best = (best + neighbor_gain.take(position) * nearest).squeeze(2)
    score = best[:, 0] + (similarity[:, 0] * frame_weights).sum(dim=1)
    if num_tokens > 1:
        words = (word_weights[:, None] @ best[:, 1:]).squeeze(1)
        frames_to_words = (similarity[:, 1:].amax(dim=1) * frame_weights).sum(dim=1)
        score = (score + words + frames_to_words) / 2
    return score / 2


def _best_frame(similarity: torch.Tensor) -> torch.Tensor:
    """`(a, T, 1, b)` the frame that is most similar to each token, of similarities `(a, T, F, b)`.

    On a CPU a maximum with its place takes a quarter of the time of the matrix product before it, a plain maximum a
    fiftieth. So each frame's number is written into the lowest bits of its similarities, whose maximum then carries
    it; the few near ties that those bits may have decided wrongly are found and looked up.
    """
    if similarity.device.type != "cpu" or torch.compiler.is_compiling():
        return similarity.max(dim=2, keepdim=True).indices
    integer = torch.int64 if similarity.dtype == torch.float64 else torch.int32
    number = torch.arange(similarity.shape[2], dtype=integer)[:, None]
    low_bits = (1 << (similarity.shape[2] - 1).bit_length()) - 1
    marked = similarity.view(integer).bitwise_and(~low_bits).bitwise_or_(number).view(similarity.dtype)
    where = marked.amax(dim=2, keepdim=True).view(integer).bitwise_and_(low_bits).long()
    wrong = similarity.gather(2, where) != similarity.amax(dim=2, keepdim=True)
    if wrong.any():
        text, token, _, video = wrong.nonzero(as_tuple=True)
        where[text, token, 0, video] = similarity[text, token, :, video].argmax(dim=1)
    return where


def _pad_with_real(embeds: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """`(N, L, D)` embeddings whose padded tokens repeat the item's first real one (zeros where it has none)."""
    real = weights > 0
    first = embeds.gather(1, _first_real(weights)[:, :, None].expand(-1, 1, embeds.shape[2]))
    first = first * real.any(dim=1)[:, None, None]
    return torch.where(real[:, :, None], embeds, first)


def _first_real(weights: torch.Tensor) -> torch.Tensor:
    """`(N, 1)` position of each item's first real token."""
    return (weights > 0).int().argmax(dim=1, keepdim=True)


def _normalise(weights: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`(N, L)` weights that sum to 1 over real tokens (all 0 where there is none)."""
    weights = weights.to(torch.promote_types(dtype, torch.float32)).clamp(min=0)
    total = weights.sum(dim=1, keepdim=True)
    return weights / torch.where(total > 0, total, 1)


def _check_inputs(sentence_embeds, word_embeds, word_weights, frame_embeds, frame_mask):
    check_embeds(sentence_embeds=(sentence_embeds, 2), word_embeds=(word_embeds, 3), frame_embeds=(frame_embeds, 3))
    check_weights("word_weights", word_weights, "word_embeds", word_embeds)
    check_weights("frame_mask", frame_mask, "frame_embeds", frame_embeds)
    if len(sentence_embeds) != len(word_embeds):
        raise ValueError(
            f"sentence_embeds has {len(sentence_embeds)} texts and word_embeds {len(word_embeds)}: one row per text"
        )


def check_embeds(**embeds: tuple[torch.Tensor, int]) -> None:
    """Raises unless all share one floating dtype and embedding size; a value is `(tensor, number of dimensions)`."""
    for name, (tensor, ndim) in embeds.items():
        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
            kind = tensor.dtype if isinstance(tensor, torch.Tensor) else type(tensor).__name__
            raise TypeError(f"{name} must be a floating-point tensor, got {kind}")
        if tensor.ndim != ndim or 0 in tensor.shape[1:]:
            raise ValueError(f"{name} must have {ndim} non-empty dimensions, got shape {tuple(tensor.shape)}")
    for what, values in {
        "dtypes": {name: tensor.dtype for name, (tensor, _) in embeds.items()},
        "embedding dimensions": {name: tensor.shape[-1] for name, (tensor, _) in embeds.items()},
    }.items():
        if len(set(values.values())) > 1:
            found = ", ".join(f"{name} {value}" for name, value in values.items())
            raise (TypeError if what == "dtypes" else ValueError)(f"{what} must agree, got {found}")


def check_weights(name: str, weights: torch.Tensor, embeds_name: str, embeds: torch.Tensor) -> None:
    """Raises unless `weights` is `(N, L)` for embeddings `(N, L, D)`."""
    if weights.shape != embeds.shape[:2]:
        raise ValueError(f"{name} has shape {tuple(weights.shape)}, but {embeds_name} has {tuple(embeds.shape)}")
