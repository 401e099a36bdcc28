"""What happens in a video of the synthetic corpus: two objects, how each of them moves, and in which order.

The vocabulary is small and every value shows in the picture, so that what a model gets wrong can be read off the
attributes, as CLEVR does for still images.
"""

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import combinations, product

from ..corpora import CorpusError

COLOURS = {
    "red": (225, 40, 40),
    "orange": (250, 135, 20),
    "yellow": (245, 225, 50),
    "green": (40, 175, 60),
    "cyan": (60, 215, 230),
    "blue": (45, 85, 240),
    "purple": (160, 60, 205),
    "white": (245, 245, 245),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
RADII = {"big": 0.18, "small": 0.105}  # in units of the picture's side
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "still": (0, 0)}
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}
KINDS = ("colour", "shape", "size", "motion", "order")  # what a hard negative may differ in

DURATIONS = (2.0, 2.5, 3.0)  # s
TRAVEL = (0.34, 0.46)  # how far a moving object goes, in units of the side
THEN_SHARE = 1 / 3
HELD_OUT_SHARE = 1 / 3
MOST_TRIES = 20  # per copy of a scene


@dataclass(frozen=True)
class Thing:
    """One object: a value of each attribute, and the centre it starts from (x, y from the top left, side = 1)."""

    colour: str
    shape: str
    size: str
    motion: str
    start: tuple[float, float] = (0.5, 0.5)
    travel: float = 0.4

    @property
    def look(self) -> tuple[str, str]:
        return self.colour, self.shape

    def centre(self, progress: float) -> tuple[float, float]:
        """Where it is when this share (0 to 1) of its motion is done."""
        step_x, step_y = DIRECTIONS[self.motion]
        return self.start[0] + step_x * self.travel * progress, self.start[1] + step_y * self.travel * progress


@dataclass(frozen=True)
class Scene:
    """Two objects that move at once (`order="together"`), or the first and after it the second (`"then"`)."""

    things: tuple[Thing, Thing]
    order: str
    duration: float = 2.0
    shade: tuple[int, int] = (30, 50)  # grey of the background, top and bottom

    def attributes(self) -> dict:
        keys = ("colour", "shape", "size", "motion")
        return {"objects": [{key: asdict(thing)[key] for key in keys} for thing in self.things], "order": self.order}

    def meaning(self) -> tuple:
        """What captions can tell apart: equal for two scenes that one sentence describes."""
        told = [(*thing.look, thing.size, thing.motion) for thing in self.things]
        return self.order, *(told if self.order == "then" else sorted(told))

    def progress(self, time: float) -> tuple[float, float]:
        """How much of their motion the two objects have done at this share (0 to 1) of the video."""
        if self.order == "together":
            return time, time
        return min(1.0, 2 * time), max(0.0, 2 * time - 1)

    def change(self, kind: str, rng: random.Random) -> "Scene":
        """The scene with exactly one attribute changed: of either object, or the order of the two events.

        A moving object turns into the opposite direction, so that no single frame gives the change away.
        """
        if kind == "order":
            return replace(self, things=self.things[::-1])
        place = rng.randrange(2)
        thing, other = self.things[place], self.things[1 - place]
        if kind == "motion":
            values = [OPPOSITE.get(thing.motion) or rng.choice(list(OPPOSITE))]
        else:
            values = list({"colour": COLOURS, "shape": SHAPES, "size": RADII}[kind])
        changed = [replace(thing, **{kind: value}) for value in values if value != getattr(thing, kind)]
        chosen = rng.choice([candidate for candidate in changed if candidate.look != other.look])
        return replace(self, things=(chosen, other) if place == 0 else (other, chosen))


def _pairs_of_looks() -> dict[str, list]:
    """Which two (colour, shape) may meet in a video: the split is the same for every seed."""
    pairs = list(combinations(product(COLOURS, SHAPES), 2))
    random.Random("held-out pairs").shuffle(pairs)
    held_out = round(HELD_OUT_SHARE * len(pairs))
    return {"test": pairs[:held_out], "train": pairs[held_out:]}


PAIRS = _pairs_of_looks()


def capacity(split: str) -> int:
    """How many scenes of different meaning the split can hold."""
    moving = len(OPPOSITE)
    return len(PAIRS[split]) * len(RADII) ** 2 * ((moving + 1) ** 2 + 2 * moving**2)


def sample_scenes(split: str, count: int, rng: random.Random) -> Iterator[Scene]:
    """`count` scenes of a split: "test" shows only pairs of objects that "train" never shows together, and no two
    of its scenes mean the same.

    Raises:
        ValueError: where the test split is asked for more scenes than it has meanings.
    """
    if split == "test" and count > capacity(split) // 2:
        raise CorpusError(f"{count} test videos are too many to tell apart: ask for at most {capacity(split) // 2}")
    seen = set()
    while count:
        scene = _sample_scene(PAIRS[split], rng)
        if split == "test" and scene.meaning() in seen:
            continue
        seen.add(scene.meaning())
        count -= 1
        yield _place(scene, rng)


def sample_groups(split: str, count: int, size: int, rng: random.Random) -> Iterator[Scene]:
    """`count` scenes as `sample_scenes` draws them, near-duplicates in groups of `size` that follow one another: the
    first of a group, and copies of it with one attribute changed, each another kind of change while there are such.

    Raises:
        ValueError: as `sample_scenes`.
    """
    if split == "test" and count > capacity(split) // 2:
        raise CorpusError(f"{count} test videos are too many to tell apart: ask for at most {capacity(split) // 2}")
    pairs = {frozenset(pair) for pair in PAIRS[split]}
    seen: set[tuple] = set()
    while count > 0:
        scene = _sample_scene(PAIRS[split], rng)
        group = [scene]
        kinds = [kind for kind in KINDS if scene.order == "then" or kind != "order"]
        rng.shuffle(kinds)
        for number in range(MOST_TRIES * size):
            if len(group) == size:
                break
            copy = scene.change(kinds[number % len(kinds)], rng)
            looks = frozenset(thing.look for thing in copy.things)
            if looks in pairs and copy.meaning() not in {other.meaning() for other in group}:
                group.append(copy)
        meanings = {other.meaning() for other in group}
        if len(group) < size or (split == "test" and meanings & seen):
            continue
        seen |= meanings
        for other in group[:count]:
            yield _place(other, rng)
        count -= size


def _sample_scene(pairs: list, rng: random.Random) -> Scene:
    looks = rng.sample(rng.choice(pairs), 2)
    order = "then" if rng.random() < THEN_SHARE else "together"
    motions = list(OPPOSITE) if order == "then" else list(DIRECTIONS)
    first, second = (Thing(colour, shape, rng.choice(list(RADII)), rng.choice(motions)) for colour, shape in looks)
    top = rng.randrange(15, 60)
    return Scene((first, second), order, rng.choice(DURATIONS), (top, top + rng.randrange(0, 20)))


def _place(scene: Scene, rng: random.Random) -> Scene:
    """Start points from which both stay in the picture and never cover each other."""
    while True:
        things = tuple(_place_thing(thing, rng) for thing in scene.things)
        placed = replace(scene, things=things)
        if all(_apart(placed, step / 8) for step in range(9)):
            return placed


def _place_thing(thing: Thing, rng: random.Random) -> Thing:
    travel, margin = rng.uniform(*TRAVEL), RADII[thing.size] + 0.01
    start = []
    for step in DIRECTIONS[thing.motion]:
        low, high = margin + travel * (step < 0), 1 - margin - travel * (step > 0)
        start.append(rng.uniform(low, high))
    return replace(thing, start=(start[0], start[1]), travel=travel)


def _apart(scene: Scene, time: float) -> bool:
    first, second = (thing.centre(done) for thing, done in zip(scene.things, scene.progress(time)))
    gap = max(abs(first[0] - second[0]), abs(first[1] - second[1]))
    return gap > RADII[scene.things[0].size] + RADII[scene.things[1].size]
