"""What is said about a synthetic scene: natural captions in several phrasings, hard negatives, and short phrases."""

import random
from dataclasses import dataclass, replace

from .scenes import KINDS, Scene, Thing

SIZE_WORDS = {"big": ("big", "large"), "small": ("small", "tiny")}
# (finite form, participle)
MOTION_WORDS = {
    "left": (
        ("moves left", "moving left"),
        ("slides to the left", "sliding to the left"),
        ("goes left", "going left"),
    ),
    "right": (
        ("moves right", "moving right"),
        ("slides to the right", "sliding to the right"),
        ("goes right", "going right"),
    ),
    "up": (("moves up", "moving up"), ("rises", "rising"), ("goes up", "going up")),
    "down": (("moves down", "moving down"), ("sinks", "sinking"), ("goes down", "going down")),
    "still": (("stays still", "staying still"), ("does not move", "not moving"), ("rests", "resting")),
}
# {a}, {b}: the objects; {a_does}, {a_doing}: their motions. In "then" scenes a comes first; otherwise either may.
PHRASINGS = {
    "together": (
        "{a} {a_does} while {b} {b_does}",
        "{a} {a_does} and {b} {b_does}",
        "{a} {a_does} as {b} {b_does}",
        "{a} {a_doing} next to {b} {b_doing}",
        "we see {a} {a_doing} and {b} {b_doing}",
        "there is {a} that {a_does}, with {b} {b_doing}",
    ),
    "then": (
        "{a} {a_does}, then {b} {b_does}",
        "first {a} {a_does} and then {b} {b_does}",
        "{a} {a_does} before {b} {b_does}",
        "{b} {b_does} after {a} {a_does}",
        "{a} {a_does}, and once it stops {b} {b_does}",
        "{a} {a_does}, followed by {b} {b_doing}",
    ),
}
# As people type into a search box: what one of the objects looks like, and sometimes what it does.
PHRASES = (
    "a {shape}",
    "something {colour}",
    "a {colour} {shape}",
    "a {size} {shape}",
    "a {size} {colour} {shape}",
    "a {shape} {does}",
    "a {colour} {shape} {doing}",
    "something {colour} {does}",
)


@dataclass(frozen=True)
class Wording:
    """The choices that turn a scene into one sentence, and a scene changed in one attribute into the sentence
    that differs in that attribute's words alone."""

    phrasing: int
    mention: tuple[int, int]  # which object each of {a} and {b} stands for
    sizes: tuple[int, int]
    motions: tuple[int, int]

    def caption(self, scene: Scene) -> str:
        words = {}
        for name, place in zip("ab", self.mention):
            thing = scene.things[place]
            does, doing = MOTION_WORDS[thing.motion][self.motions[place]]
            words |= {name: self._noun(thing, place), f"{name}_does": does, f"{name}_doing": doing}
        return PHRASINGS[scene.order][self.phrasing].format(**words)

    def swapped(self) -> "Wording":
        """The wording that gives each object its own words again after the two have changed places."""
        return replace(self, sizes=self.sizes[::-1], motions=self.motions[::-1])

    def _noun(self, thing: Thing, place: int) -> str:
        return f"a {SIZE_WORDS[thing.size][self.sizes[place]]} {thing.colour} {thing.shape}"


def wordings(scene: Scene, count: int, rng: random.Random, forms: range | None = None) -> list[Wording]:
    """`count` wordings, of different phrasings while there are any left; `forms`: the phrasings to choose from."""
    forms = forms or range(len(PHRASINGS[scene.order]))
    phrasings = rng.sample(forms, len(forms))
    mentions = [(0, 1)] if scene.order == "then" else [(0, 1), (1, 0)]
    return [
        Wording(
            phrasing=phrasings[number % len(phrasings)],
            mention=rng.choice(mentions),
            sizes=(rng.randrange(2), rng.randrange(2)),
            motions=(rng.randrange(3), rng.randrange(3)),
        )
        for number in range(count)
    ]


def phrases(scene: Scene, count: int, rng: random.Random) -> list[str]:
    """At most `count` short texts that are right for a scene, of different kinds as long as there are any left."""
    kinds = rng.sample(PHRASES, len(PHRASES))
    return list(dict.fromkeys(_phrase(kinds[number % len(kinds)], scene, rng) for number in range(count)))


def _phrase(kind: str, scene: Scene, rng: random.Random) -> str:
    thing = rng.choice(scene.things)
    does, doing = rng.choice(MOTION_WORDS[thing.motion])
    size = rng.choice(SIZE_WORDS[thing.size])
    return kind.format(size=size, colour=thing.colour, shape=thing.shape, does=does, doing=doing)


def describe(scene: Scene, count: int, rng: random.Random, forms: range | None = None) -> dict:
    """The captions of a scene and one hard negative of each kind (order only where there is one): a caption that is
    wrong in exactly one attribute, beside the right one that it was made from. `forms`: as in `wordings`."""
    choices = wordings(scene, count, rng, forms)
    negatives = []
    for kind in KINDS if scene.order == "then" else KINDS[:-1]:
        wording = rng.choice(choices)
        wrong = (wording.swapped() if kind == "order" else wording).caption(scene.change(kind, rng))
        negatives.append({"kind": kind, "positive": wording.caption(scene), "caption": wrong})
    captions = list(dict.fromkeys(wording.caption(scene) for wording in choices))
    return {"captions": captions, "hard_negatives": negatives, "attributes": scene.attributes()}
