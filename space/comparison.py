"""The same query ranked with each of DMAE's attentions on and off."""

from dmae.retrieval import ScoreOptions

from .library import Library, Query, Result

CANDIDATES = 50
VARIANTS = {  # by the key of its text: textual attention, visual attention
    "both": (True, True),
    "textual": (True, False),
    "visual": (False, True),
    "neither": (False, False),
}


def compare(library: Library, query: Query, k: int = 5) -> dict[str, list[Result]]:
    """The `CANDIDATES` best videos of the index, ranked anew by each of `VARIANTS`; k results each."""
    found = [result.hit.id for result in library.search(query, CANDIDATES)]
    options = ScoreOptions.of(library.model.config)
    ranked = {}
    for name, (textual, visual) in VARIANTS.items():
        chosen = options._replace(textual_attention=textual, visual_attention=visual)
        ranked[name] = [Result(hit) for hit in library.index.rescore(query.encoded, found, chosen)[:k]]
    return ranked
