"""Synthetic embeddings with the structure of CLIP's, a block of videos at a time, for benchmarks of search.

A frame is the unit-norm sum of: one direction that all images share (CLIP's cone), its topic (one of N/200), its
video's own direction, its shot's (one to three shots per video) and noise. Each part is drawn with a spectrum that
decays as i^-½ over a random basis, scaled to norms 1.0 : 0.8 : 0.6 : 0.5 : 0.3. A text shares the content of one
video (weight 0.6 in the sentence, 0.4 in the words) in a cone of its own: CLIP's modality gap. With `unrelated=True`
every frame is an independent random direction instead, the hardest case for pooling and one that no video shows.
"""

import torch
from torch.nn.functional import normalize

BLOCK = 5_000
NOISE_POOL = 50_000  # vectors to pick noise from: drawing 6 billion normal values would take minutes


class StructuredEmbeddings:
    """`blocks()` yields `(B, F, D)` float32 frames; `texts(A)` features of A texts about videos spread over them."""

    def __init__(self, count: int, frames: int = 12, dim: int = 512, seed: int = 0, unrelated: bool = False):
        self.count, self.frames, self.dim, self.seed, self.unrelated = count, frames, dim, seed, unrelated
        generator = torch.Generator().manual_seed(seed)
        spectrum = torch.arange(1, dim + 1).float() ** -0.5
        rotation = torch.linalg.qr(torch.randn(dim, dim, generator=generator))[0].T
        self._basis = rotation * (spectrum / spectrum.norm())[:, None]
        self._topics = self._draw(generator, max(20, count // 200))
        self._cones = normalize(torch.randn(3, dim, generator=generator), dim=-1)
        self._noise = self._draw(generator, NOISE_POOL)

    def _draw(self, generator, *shape) -> torch.Tensor:
        return torch.randn(*shape, self.dim, generator=generator) @ self._basis

    def _contents(self, block: int) -> tuple[torch.Tensor, torch.Generator]:
        """What each video of a block is about, and the generator that goes on to its frames."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + block + 1)
        size = min(BLOCK, self.count - block * BLOCK)
        topics = self._topics[torch.randint(len(self._topics), (size,), generator=generator)]
        return 0.8 * topics + 0.6 * self._draw(generator, size), generator

    def blocks(self):
        for block in range((self.count + BLOCK - 1) // BLOCK):
            contents, generator = self._contents(block)
            shape = (len(contents), self.frames)
            if self.unrelated:
                yield normalize(torch.randn(*shape, self.dim, generator=generator), dim=-1)
                continue
            shots = torch.randint(1, 4, (len(contents), 1), generator=generator)
            shot = (torch.arange(self.frames) * shots) // self.frames
            shot_part = self._pick(generator, (len(contents), 3)).gather(1, shot[..., None].expand(-1, -1, self.dim))
            frames = self._cones[0] + contents[:, None] + 0.5 * shot_part + 0.3 * self._pick(generator, shape)
            yield normalize(frames, dim=-1)

    def _pick(self, generator, shape) -> torch.Tensor:
        return self._noise[torch.randint(NOISE_POOL, shape, generator=generator)]

    def texts(self, count: int, words: int = 10):
        generator = torch.Generator().manual_seed(self.seed + 1)
        picks = torch.linspace(0, self.count - 1, count).long()
        content = torch.stack([self._contents(int(p) // BLOCK)[0][int(p) % BLOCK] for p in picks])
        sentence = self._cones[1] + 0.6 * content + 0.5 * self._draw(generator, count)
        word = self._cones[2] + 0.4 * content[:, None] + 0.8 * self._draw(generator, count, words)
        weights = torch.randint(1, 3, (count, words), generator=generator).float()
        return normalize(sentence, dim=-1), normalize(word, dim=-1), weights
