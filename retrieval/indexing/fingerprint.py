"""Which model and which preprocessing made an index, as short names and fingerprints."""

import hashlib
import json
import os

import torch

from dmae.modeling.precision import weight_samples

from ..storage.schema import Encoder

# Parameters that training uses and embeddings do not depend on.
_NOT_EMBEDDINGS = ("word_predictor.", "frame_predictor.", "logit_scale")

# What a saved processor says about itself rather than about the pixels it makes.
_NOT_PIXELS = {
    "processor_class",
    "video_processor_type",
    "auto_map",
    "return_metadata",
    "device",
    "transformers_version",
}


def model_encoder(model) -> Encoder:
    """Fingerprint of a model's weights: every tensor's name, shape and a spread of its values.

    Values are compared in bfloat16, so a checkpoint loaded in another precision is still the same model.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, (shape, values) in sorted(weight_samples(model).items()):
        if not name.startswith(_NOT_EMBEDDINGS):
            digest.update(f"{name}{tuple(shape)}".encode() + values.view(torch.int16).numpy().tobytes())
    path = getattr(model.config, "_name_or_path", "") or type(model).__name__
    return Encoder(_display_name(path), digest.hexdigest())


def preprocessing_encoder(processor) -> Encoder:
    """Fingerprint of a processor's video half: everything that decides the pixels of the frames."""
    video_processor = processor.video_processor
    values = json.loads(json.dumps(video_processor.to_dict(), sort_keys=True, default=str))
    values = {k: v for k, v in values.items() if k not in _NOT_PIXELS and not k.startswith("_") and v is not None}
    digest = hashlib.blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=16)
    crop = values.get("crop_size" if values.get("do_center_crop", True) else "size") or values.get("size") or {}
    pixels = "x".join(str(crop[side]) for side in ("height", "width") if side in crop)
    name = f"{values.get('num_frames', '?')} frames {pixels}".strip()
    return Encoder(name, digest.hexdigest())


def _display_name(path: str) -> str:
    """A Hub id as it is; of a local folder only its name, since an index may be shared."""
    return os.path.basename(os.path.normpath(path)) if os.path.exists(path) else path
