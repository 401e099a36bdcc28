"""A saved checkpoint in a process that has torch, transformers, numpy, pillow and av, and none of the rest."""

import json
import subprocess
import sys

import numpy as np
import torch
from dual_encoders import save_dual_encoder

from dmae.modeling import load_pretrained
from dmae.training.synthetic.init import new_model

ELSEWHERE = """
import json, sys

ABSENT = {"dmae", "datasets", "lancedb", "gradio", "torchvision", "accelerate", "evaluate", "pyarrow", "pandas"}

class Without:
    #A finder that does not see the absent packages.
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, *args):
        return None if name.split(".")[0] in ABSENT else self.finder.find_spec(name, *args)
    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Without, sys.meta_path)

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, AutoProcessor
from transformers.models.auto.video_processing_auto import AutoVideoProcessor

inputs, outputs, *folders = sys.argv[1:]
trusted = {"trust_remote_code": True}
video = np.load(inputs)
logits, names = [], []
for folder in folders:
    config = AutoConfig.from_pretrained(folder, **trusted)
    model = AutoModel.from_pretrained(folder, **trusted)
    processor = AutoProcessor.from_pretrained(folder, **trusted)
    video_processor = AutoVideoProcessor.from_pretrained(folder, **trusted)
    batch = processor(text=["a red ball", "a blue box falls"], videos=[video, video[::-1]], return_tensors="pt")
    alone = video_processor(videos=[video], return_tensors="pt")["pixel_values_videos"]
    assert alone.equal(batch["pixel_values_videos"][:1])
    with torch.no_grad():
        logits.append(model(**batch).logits_per_text.tolist())
    names.append([type(o).__name__ for o in (config, model, processor, video_processor)])
found = sorted(ABSENT & {name.split(".")[0] for name in sys.modules})
json.dump({"logits": logits, "names": names, "found": found}, open(outputs, "w"))
"""


def test_auto_classes_load_without_this_package(tmp_path):
    """A model on CLIP's towers and one on another encoder's."""
    save_dual_encoder("siglip2", tmp_path / "encoder")
    models = {
        "clip": new_model(["a red ball", "a blue box falls"], width=32, image_size=32, num_frames=4),
        "siglip2": load_pretrained(tmp_path / "encoder", num_frames=4),
    }
    video = np.random.default_rng(0).integers(0, 256, (6, 40, 60, 3), dtype=np.uint8)
    np.save(tmp_path / "video.npy", video)
    expected = []
    for name, (model, processor) in models.items():
        model.eval().save_pretrained(tmp_path / name)
        processor.save_pretrained(tmp_path / name)
        batch = processor(text=["a red ball", "a blue box falls"], videos=[video, video[::-1]], return_tensors="pt")
        with torch.no_grad():
            expected.append(model(**batch).logits_per_text)

    arguments = [tmp_path / "video.npy", tmp_path / "out.json", *(tmp_path / name for name in models)]
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["names"] == [["DmaeConfig", "DmaeModel", "DmaeProcessor", "DmaeVideoProcessor"]] * 2
    assert report["found"] == []
    torch.testing.assert_close(torch.tensor(report["logits"]), torch.stack(expected))


def test_a_new_models_tokenizer_knows_its_words_and_spells_others(tmp_path):
    model, processor = new_model(["a red ball rolls"] * 2, width=32, image_size=32)
    known = processor.tokenizer.tokenize("A red ball rolls")
    assert known == ["a", "red", "ball", "rolls"]
    assert len(processor.tokenizer.tokenize("elephant")) == len("elephant")
    # The text tower pools at the end token, wherever padding begins.
    batch = processor(text=["red", "a red ball rolls"], return_tensors="pt")
    with torch.no_grad():
        both = model.eval().get_text_features(batch["input_ids"], batch["attention_mask"]).sentence_embeds
        alone = model.get_text_features(processor(text="red", return_tensors="pt")["input_ids"]).sentence_embeds
    torch.testing.assert_close(both[:1], alone)
