"""Wrong captions made from right ones: hard negatives for the contrastive losses, learned from the corpus alone.

One word is replaced by another that the corpus uses in the same place ("a red star moves" has taught that "blue" may
stand for "red"). Synonyms stand in the same places too, but in captions of the same videos: a word that meets the
other one's videos about as often as chance would have it, or more often, is no replacement, nor is one that
any caption of this very video uses. Captions that tell two events may have these exchanged instead ("A, then B"), as
in Bagad et al., "Test of Time", CVPR 2023.
"""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations

from .word_dropping import WORD, words_of

MAX_LIFT = 0.85  # how often two words share a video, relative to chance, at most
EXCHANGE_SHARE = 0.25
MOST_ALTERNATIVES = 100
_DONE = r"and once (?:it|he|she|they) (?:stops?|ends?|is done|is over|has stopped|have stopped),?"
_THEN = re.compile(rf",? (?:(?:and )?then|{_DONE}|before|after(?! another\b| the other\b)|followed by) ")
_FIRST = re.compile(r"(?:first,? )?", re.IGNORECASE)
_START, _END = "<", ">"  # no word


class CaptionEditor:
    """Makes a caption wrong in one respect.

    Args:
        captions: of each video, its captions.
        max_lift: words that share videos more often than this many times chance are taken for synonyms.
        exchange_share: of the captions that tell two events in order, the share whose order is changed.
    """

    def __init__(
        self,
        captions: Sequence[Sequence[str]],
        *,
        max_lift: float = MAX_LIFT,
        exchange_share: float = EXCHANGE_SHARE,
    ):
        self.exchange_share = exchange_share
        self.words = [frozenset(word for caption in texts for word in words_of(caption)) for texts in captions]
        videos = defaultdict(set)
        for video, words in enumerate(self.words):
            for word in words:
                videos[word].add(video)
        self.replacements: dict[str, list[str]] = defaultdict(list)
        for one, other in sorted(_interchangeable(captions)):
            together, chance = len(videos[one] & videos[other]), len(videos[one]) * len(videos[other])
            if together * len(self.words) < max_lift * chance:
                self.replacements[one].append(other)
                self.replacements[other].append(one)

    def edit(self, video: int, caption: str, rng: random.Random) -> str | None:
        """A wrong caption for video number `video`, None where none can be made from `caption`."""
        if rng.random() < self.exchange_share and (exchanged := exchange_events(caption)):
            return exchanged
        matches = list(WORD.finditer(caption))
        rng.shuffle(matches)
        for match in matches:
            known = self.replacements.get(match.group().lower(), ())
            if choices := [word for word in known if word not in self.words[video]]:
                return caption[: match.start()] + rng.choice(choices) + caption[match.end() :]
        return None

    def edits(self, video: int, caption: str, count: int, rng: random.Random) -> list[str]:
        """`count` different wrong captions for video number `video`, or as many as that many tries give."""
        tries = (self.edit(video, caption, rng) for _ in range(count))
        return list(dict.fromkeys(wrong for wrong in tries if wrong is not None))


def exchange_events(caption: str) -> str | None:
    """The caption with its two events in the other order, None where it does not tell of two.

    >>> exchange_events("first a dog barks, then a cat runs")
    'first a cat runs, then a dog barks'
    """
    sentence = caption.rstrip(" .!")
    parts = _THEN.split(sentence)
    if len(parts) != 2:
        return None
    opening, between = _FIRST.match(sentence), _THEN.search(sentence)
    assert opening is not None and between is not None  # both match: there are two parts
    opening = opening.group()
    one, other = parts[0][len(opening) :], parts[1]
    if one.lower() == other.lower():
        return None
    if not opening and one[:1].isupper():
        one, other = one[:1].lower() + one[1:], other[:1].upper() + other[1:]
    return opening + other + between.group() + one + caption[len(sentence) :]


def _interchangeable(captions: Sequence[Sequence[str]]) -> set[tuple[str, str]]:
    """Pairs of words, in alphabetical order, that stand between the same two words somewhere. Where a great many words
    may stand ("a … <end>"), the commonest of them: the pairs grow with their square."""
    places = defaultdict(Counter)
    for texts in captions:
        for caption in texts:
            words = [_START, *words_of(caption), _END]
            for before, word, after in zip(words, words[1:], words[2:]):
                places[before, after][word] += 1
    return {
        pair
        for counts in places.values()
        for pair in combinations(sorted(word for word, _ in counts.most_common(MOST_ALTERNATIVES)), 2)
    }
