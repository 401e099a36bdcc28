"""Towers that know what is where in a picture, from drawn stills: what CLIP brings along, for models of one's own.

Stills with captions of looks alone do not teach place, and then no loss over videos learns motion: the towers would
have to learn place first, through the frame transformer. So captions name places, the same captions with places
mirrored are negatives, and a linear head, thrown away afterwards, reads from the embedding of each still the place and
the shape of the one object of each colour. Another reads from each patch's own token the shape of the object in it: no
embedding learns shapes that the patches have not. Some captions are short ("a star to the left"), as queries are.
"""

import math
import random

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import get_cosine_schedule_with_warmup

from dmae.modeling import DmaeModel, DmaeProcessor, dmae_similarity, info_nce_loss
from dmae.modeling.encoding import Normalizer
from dmae.modeling.losses import MAX_LOGIT_SCALE, CappedScale

from ..precision import bf16_on_cpu
from .captions import SIZE_WORDS
from .rendering import render
from .scenes import COLOURS, SHAPES, Scene, sample_scenes

PER_SCENE = 3
LOW, HIGH = 0.4, 0.6  # between them, in units of the side, a place goes without saying
NAMED_SHARE = 0.6  # how often a caption says where an object is
SHORT_LOOKS = ("a {shape}", "something {colour}", "a {colour} {shape}", "a {size} {colour} {shape}")
SCALE_RATE = 10
RECORD_EVERY, MEASURED = 50, 300
PLACE_WEIGHT = 40.0  # squared errors of places are small beside the contrastive loss
SHAPE_WEIGHT = 1.0
PATCH_WEIGHT = 2.0
NOTHING, NOTHING_WEIGHT = len(SHAPES), 0.1  # the class of a patch without an object, as most of them are
COLOUR_NUMBERS = {colour: number for number, colour in enumerate(COLOURS)}


class Stills:
    """Single frames of the scenes of a split, as drawn.

    pixels: uint8 (stills, 3, side, side). places: (stills, colours, 2), the centre of the object of each colour, 0 in
    the middle of the picture, side = 1. shapes: (stills, colours), of the same object, by its place in `SHAPES`.
    known: bool (stills, colours), whether just one object has the colour.
    """

    def __init__(self, split: str, count: int, side: int, *, seed: int = 0, per_scene: int = PER_SCENE):
        rng = random.Random(f"{seed} {split} stills")
        self.scenes: list[Scene] = []  # of each still
        pixels, self.centres = [], []
        for scene in sample_scenes(split, count, rng):
            frames = render(scene, side)
            for number in rng.sample(range(len(frames)), per_scene):
                done = scene.progress(number / (len(frames) - 1))
                self.scenes.append(scene)
                self.centres.append([thing.centre(share) for thing, share in zip(scene.things, done)])
                pixels.append(frames[number].copy())  # a view would keep them all
        self.pixels = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
        self.places = torch.zeros(len(pixels), len(COLOURS), 2)
        self.shapes = torch.zeros(len(pixels), len(COLOURS), dtype=torch.long)
        objects = torch.zeros(len(pixels), len(COLOURS))
        for still, (scene, centres) in enumerate(zip(self.scenes, self.centres)):
            for thing, centre in zip(scene.things, centres):
                self.places[still, COLOUR_NUMBERS[thing.colour]] = torch.tensor(centre) - 0.5
                self.shapes[still, COLOUR_NUMBERS[thing.colour]] = SHAPES.index(thing.shape)
                objects[still, COLOUR_NUMBERS[thing.colour]] += 1
        self.known = objects == 1

    def __len__(self) -> int:
        return len(self.scenes)

    def shapes_of_patches(self, side: int) -> torch.Tensor:
        """Long (stills, side²): the shape of the object whose centre lies in each patch, row by row, by its place in
        `SHAPES`, or `NOTHING`.
        """
        found = torch.full((len(self), side, side), NOTHING)
        for still, (scene, centres) in enumerate(zip(self.scenes, self.centres)):
            for thing, (x, y) in zip(scene.things, centres):
                found[still, int(y * side), int(x * side)] = SHAPES.index(thing.shape)
        return found.flatten(1)

    def describe(self, still: int, rng: random.Random, short_share: float = 0.0) -> tuple[str, str]:
        """A caption of a still, and the same with left and right or up and down exchanged; `short_share`: how often it
        tells of one object alone, and of it a part."""
        parts = []
        short = rng.random() < short_share
        for thing, centre in zip(self.scenes[still].things, self.centres[still]):
            form = rng.choice(SHORT_LOOKS) if short else SHORT_LOOKS[-1]
            look = form.format(size=rng.choice(SIZE_WORDS[thing.size]), colour=thing.colour, shape=thing.shape)
            parts.append((look, centre if rng.random() < NAMED_SHARE else None))
        rng.shuffle(parts)
        if short:
            del parts[1:]
        axis = rng.randrange(2)
        right = " and ".join(look + where(centre) for look, centre in parts)
        return right, " and ".join(look + where(_mirrored(centre, axis)) for look, centre in parts)


def vocabulary() -> list[str]:
    """Texts with every word of the captions, which a tokenizer must not have to spell."""
    sizes = [word for words in SIZE_WORDS.values() for word in words]
    return [" ".join((*sizes, *COLOURS, *SHAPES)), "a something up down to the left and to the right"]


def where(centre: tuple[float, float] | None) -> str:
    """The words for a place, such as " up to the left"; none for None and for the middle."""
    if centre is None:
        return ""
    x, y = centre
    return " up" * (y < LOW) + " down" * (y > HIGH) + " to the left" * (x < LOW) + " to the right" * (x > HIGH)


def _mirrored(centre: tuple[float, float] | None, axis: int) -> tuple[float, float] | None:
    if centre is None:
        return None
    x, y = centre
    return (x, 1 - y) if axis else (1 - x, y)


def train_towers(
    model: DmaeModel,
    processor: DmaeProcessor,
    steps: int,
    *,
    scenes: int = 6000,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    short_share: float = 0.0,
    seed: int = 0,
    progress: bool = True,
) -> list[dict]:
    """Trains the towers and their projections, nothing else, on stills of the synthetic corpus's training scenes.

    `short_share` of the captions are as short as queries are: they fit many stills, which keeps α low.

    The inverse temperature α is learned with them, up to CLIP's cap, and kept as the model's own, as CLIP's
    checkpoints keep theirs: what is trained from these towers starts at the α that they are used to.

    Returns:
        every `RECORD_EVERY` steps and at the end: "step", "loss", "logit_scale", and "R@1", in %, of captions among
        `MEASURED` stills of the test split.
    """
    torch.manual_seed(seed)
    rng = random.Random(seed)
    stills = Stills("train", scenes, processor.video_processor.crop_size["height"], seed=seed)
    normalize = Normalizer(processor.video_processor)
    read = nn.Linear(model.config.projection_dim, len(COLOURS) * (2 + len(SHAPES)))
    see = nn.Linear(model.config.vision_config.hidden_size, len(SHAPES) + 1)
    in_patches = stills.shapes_of_patches(math.isqrt(model.vision_model.embeddings.num_patches))
    measured = Stills("test", MEASURED // PER_SCENE, processor.video_processor.crop_size["height"], seed=seed)
    records = []
    log_scale = nn.Parameter(torch.tensor(20.0).log())
    towers = (model.text_model, model.vision_model, model.text_projection, model.visual_projection)
    parameters = [p for part in (*towers, read, see) for p in part.parameters()]
    optimizer = _optimizer(parameters, log_scale, learning_rate)
    scheduler = get_cosine_schedule_with_warmup(optimizer, steps // 10, steps)
    model.train()
    for step in tqdm(range(1, steps + 1), desc="Training the towers on stills", unit="step", disable=not progress):
        chosen = rng.sample(range(len(stills)), batch_size)
        captions, wrong = zip(*(stills.describe(still, rng, short_share) for still in chosen))
        wrong = [other for right, other in zip(captions, wrong) if other != right]
        text, frames, tokens = _embed(model, processor, [*captions, *wrong], normalize(stills.pixels[chosen, None]))
        similarity = dmae_similarity(*text, frames, torch.ones(frames.shape[:2]))
        scale = CappedScale.apply(log_scale.exp())
        contrast = info_nce_loss(similarity[:batch_size], scale, wrong_texts=similarity[batch_size:])
        reading = _reading_loss(read(frames[:, 0]), stills, chosen) + _patch_loss(see(tokens), in_patches[chosen])
        optimizer.zero_grad()
        (contrast + reading).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        scheduler.step()
        if step % RECORD_EVERY == 0 or step == steps:
            reached = min(float(log_scale.detach().exp()), MAX_LOGIT_SCALE)
            found = {"step": step, "loss": contrast.item(), "logit_scale": reached}
            records.append({**found, "R@1": recall_of_stills(model, processor, measured)})
    _keep_scale(model, log_scale.detach())
    model.eval()
    return records


def _embed(model: DmaeModel, processor: DmaeProcessor, captions: list[str], pixels: torch.Tensor):
    """Features of the captions, and what `look_at_stills` gives of the pixels; in float32, however computed."""
    with bf16_on_cpu(model):
        text = model.get_text_features(**processor(text=captions, return_tensors="pt"))
        frames, tokens = look_at_stills(model, pixels)
    return text.to(dtype=torch.float32), frames.float(), tokens.float()


def _optimizer(parameters: list, log_scale: nn.Parameter, learning_rate: float) -> torch.optim.Optimizer:
    groups = [
        {"params": parameters, "weight_decay": 0.05},
        # At the weights' own rate α would still be on its way when the steps are over.
        {"params": [log_scale], "weight_decay": 0.0, "lr": SCALE_RATE * learning_rate},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98), fused=True)


def _reading_loss(read: torch.Tensor, stills: Stills, chosen: list[int]) -> torch.Tensor:
    """How far what was read is from place and shape of the one object of each colour."""
    known = stills.known[chosen]
    read = read.unflatten(1, (len(COLOURS), -1))[known]
    misplaced = F.mse_loss(read[:, :2], stills.places[chosen][known])
    misread = F.cross_entropy(read[:, 2:], stills.shapes[chosen][known])
    return PLACE_WEIGHT * misplaced + SHAPE_WEIGHT * misread


def _patch_loss(seen: torch.Tensor, shapes: torch.Tensor) -> torch.Tensor:
    weights = torch.ones(len(SHAPES) + 1)
    weights[NOTHING] = NOTHING_WEIGHT
    return PATCH_WEIGHT * F.cross_entropy(seen.flatten(0, 1), shapes.flatten(), weight=weights)


def _keep_scale(model: DmaeModel, log_scale: torch.Tensor) -> None:
    model.config.logit_scale = round(float(log_scale.exp().clamp(max=MAX_LOGIT_SCALE)), 4)
    if model.config.learn_logit_scale:
        model.logit_scale.data.fill_(model.config.logit_scale).log_()


@torch.no_grad()
def recall_of_stills(model: DmaeModel, processor: DmaeProcessor, stills: Stills) -> float:
    """R@1, in %, of one caption of each still among all of them."""
    rng = random.Random(0)
    captions = [stills.describe(still, rng)[0] for still in range(len(stills))]
    text = model.get_text_features(**processor(text=captions, return_tensors="pt"))
    frames = embed_stills(model, Normalizer(processor.video_processor)(stills.pixels[:, None]))
    best = dmae_similarity(*text, frames, torch.ones(frames.shape[:2])).argmax(dim=1)
    return 100 * (best == torch.arange(len(stills))).float().mean().item()


def embed_stills(model: DmaeModel, pixels: torch.Tensor) -> torch.Tensor:
    """Unit embeddings (B, 1, D) of normalised stills (B, 1, 3, H, W), without what a frame transformer adds."""
    return look_at_stills(model, pixels)[0]


def look_at_stills(model: DmaeModel, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`embed_stills`, and the states (B, P, W) of the patches."""
    seen = model.vision_model(pixel_values=pixels.flatten(0, 1))
    return F.normalize(model.visual_projection(seen.pooler_output), dim=-1)[:, None], seen.last_hidden_state[:, 1:]
