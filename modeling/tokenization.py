"""Texts as tokens with the characters that each stands for, from any tokenizer."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TokenizedText:
    """One text. ids: of its tokens. spans: characters that each stands for, (0, 0) where it stands for none."""

    ids: list[int]
    spans: list[tuple[int, int]]


def tokenize(tokenizer, texts: Sequence[str], max_length: int) -> list[TokenizedText]:
    """Each text in at most `max_length` tokens, start and end included, without padding."""
    fast = tokenizer.is_fast
    encoded = tokenizer(
        list(texts), padding=False, truncation=True, max_length=max_length, return_offsets_mapping=fast
    )
    if fast:
        return [
            TokenizedText(ids, [tuple(span) for span in spans])
            for ids, spans in zip(encoded["input_ids"], encoded["offset_mapping"])
        ]
    special = set(tokenizer.all_special_ids)
    found = []
    for text, ids in zip(texts, encoded["input_ids"]):
        tokens = tokenizer.convert_ids_to_tokens(ids)
        spans = _find([None if at in special else token for at, token in zip(ids, tokens)], text)
        found.append(TokenizedText(list(ids), spans))
    return found


def _find(tokens: Sequence[str | None], text: str) -> list[tuple[int, int]]:
    """The spans of tokens in the order of the text, by their letters: tokenizers written in Python do not tell.

    Punctuation, which SigLIP's tokenizer removes, and marks of word boundaries are passed over. A token that is not
    found, or None, has the span (0, 0).
    """
    places = [(at, folded) for at, character in enumerate(text) for folded in _letters(character)]
    letters = "".join(folded for _, folded in places)
    spans, cursor = [], 0
    for token in tokens:
        wanted = "" if token is None else "".join(map(_letters, token))
        begin = letters.find(wanted, cursor) if wanted else -1
        if begin < 0:
            spans.append((0, 0))
            continue
        cursor = begin + len(wanted)
        spans.append((places[begin][0], places[cursor - 1][0] + 1))
    return spans


def _letters(character: str) -> str:
    """A character in the form in which tokens are compared; empty for spaces, punctuation, control and mark signs."""
    if character == "▁" or unicodedata.category(character)[0] in "PZCS":
        return ""
    return unicodedata.normalize("NFKC", character).casefold()
