"""Random embeddings with the structure of real ones, and their exhaustive DMAE ranking."""

import torch
from torch.nn.functional import normalize

from dmae.modeling import dmae_similarity


def videos(count: int, frames: int = 6, dim: int = 32, seed: int = 0, spread: float = 0.5):
    """`(B, F, D)` frames around one direction a video, and their `(B, F)` mask; every tenth video has padding."""
    generator = torch.Generator().manual_seed(seed)
    centre = normalize(torch.randn(count, 1, dim, generator=generator), dim=-1)
    noise = normalize(torch.randn(count, frames, dim, generator=generator), dim=-1)
    mask = torch.ones(count, frames)
    mask[::10, frames // 2 :] = 0
    return normalize(centre + spread * noise, dim=-1), mask


def texts(frame_embeds: torch.Tensor, count: int, words: int = 5, seed: int = 1):
    """Features of texts about the first `count` videos: `(A, D)`, `(A, T, D)`, `(A, T)`; every other one is padded."""
    generator = torch.Generator().manual_seed(seed)
    about = frame_embeds[:count]
    dim = about.shape[2]
    sentence = normalize(about[:, 0] + 0.1 * torch.randn(count, dim, generator=generator), dim=-1)
    word = normalize(about[:, :1] + 0.2 * torch.randn(count, words, dim, generator=generator), dim=-1)
    weights = torch.randint(1, 3, (count, words), generator=generator).float()
    weights[1::2, -2:] = 0
    return sentence, word, weights


def exhaustive(features, frame_embeds, frame_mask, k: int = 10, **options):
    """Scores and positions of the k best videos of each text, by the reference similarity on all of them."""
    best = dmae_similarity(*features, frame_embeds, frame_mask, **options).topk(k)
    return best.values, best.indices
