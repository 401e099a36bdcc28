"""The same query ranked with each of DMAE's attentions on and off."""

from dataclasses import replace

from .library import Found, Library, Query

CANDIDATES = 50
VARIANTS = {  # by the key of its text: textual attention, visual attention
    "both": (True, True),
    "textual": (True, False),
    "visual": (False, True),
    "neither": (False, False),
}


def compare(library: Library, query: Query, k: int = 5) -> dict[str, Found]:
    """The `CANDIDATES` best videos of the index, ranked anew by each of `VARIANTS`; k results each."""
    found = library.search(query, CANDIDATES)
    ids = [result.hit.id for result in found.results]
    ranked = {name: library.rescore(query, ids, *attentions).first(k) for name, attentions in VARIANTS.items()}
    return {name: replace(own, silent=max(own.silent, found.silent)) for name, own in ranked.items()}
