"""The same query ranked with each of DMAE's attentions on and off."""

from dataclasses import replace

from dmae.retrieval.search.resident import FRAME_COLUMNS, frames_of
from dmae.retrieval.search.scoring import ScoreOptions, score_candidates
from dmae.retrieval.storage.filters import quote

from .library import Library, Query, Result

CANDIDATES = 50
VARIANTS = {  # textual attention, visual attention
    "Both attentions": (True, True),
    "Textual attention only": (True, False),
    "Visual attention only": (False, True),
    "Neither": (False, False),
}


def compare(library: Library, query: Query, k: int = 5) -> dict[str, list[Result]]:
    """The `CANDIDATES` best videos of the index, ranked anew by each of `VARIANTS`; k results each."""
    index = library.index
    results = {result.hit.id: result for result in library.search(query, CANDIDATES)}
    if not results:
        return {name: [] for name in VARIANTS}
    rows = index.table.scan(["id", *FRAME_COLUMNS], f"id IN ({', '.join(map(quote, results))})")
    frames = frames_of(rows, index.table.settings.dim, index.table.settings.dtype)
    found = [results[video_id] for video_id in rows["id"].to_pylist()]
    options = ScoreOptions.of(library.model.config)
    ranked = {}
    for name, (textual, visual) in VARIANTS.items():
        scores, _ = score_candidates(
            query.features, frames, options._replace(textual_attention=textual, visual_attention=visual)
        )
        best = scores.topk(min(k, len(scores)))
        ranked[name] = [
            replace(found[at], hit=replace(found[at].hit, score=score))
            for score, at in zip(best.values.tolist(), best.indices.tolist())
        ]
    return ranked
