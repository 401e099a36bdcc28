"""`DmaeVideoProcessor`: the same pixels from every form of a video, CLIP's own resizing, saving and loading."""

import json

import numpy as np
import pytest
import torch
from datasets import Dataset, Video
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from video_files import middles, read_numbers, write_video

from dmae.modeling import DmaeVideoProcessor, VideoDecodeError, read_frames

SIZES = {"size": {"shortest_edge": 48}, "crop_size": {"height": 48, "width": 48}}


def footage(count: int, height: int, width: int) -> list[np.ndarray]:
    """Smooth shapes, edges and noise, drifting: what resizing filters differ on."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:height, :width]
    base = np.stack([128 + 100 * np.sin(x / k + y / (k + 5)) for k in (7, 11, 17)], axis=-1)
    base[height // 4 : height // 2, width // 3 : width // 2] = 255
    noisy = base + rng.normal(0, 12, base.shape)
    return [np.roll(noisy, 3 * index, axis=1).clip(0, 255).astype(np.uint8) for index in range(count)]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "a.mp4", footage(8, 120, 200), size=(200, 120))


@pytest.fixture(scope="module")
def processor():
    return DmaeVideoProcessor(num_frames=4, **SIZES)


def test_every_form_gives_the_same_pixels(video, processor):
    read = read_frames(video, 4)
    everything = read_frames(video, 8).frames
    row = Dataset.from_dict({"video": [str(video)]}).cast_column("video", Video(decode=False))[0]["video"]
    forms = {
        "path": str(video),
        "Path": video,
        "bytes": video.read_bytes(),
        "row": row,
        "row of bytes": {"path": None, "bytes": video.read_bytes()},
        "VideoFrames": read,
        "array": read.frames,
        "array of all frames": everything,
        "channels first": np.ascontiguousarray(read.frames.transpose(0, 3, 1, 2)),
        "tensor": torch.from_numpy(read.frames),
        "pictures": [Image.fromarray(frame) for frame in read.frames],
        "arrays": list(read.frames),
    }
    expected = processor(str(video), return_tensors="pt")
    assert expected["pixel_values_videos"].shape == (1, 4, 3, 48, 48)
    assert expected["pixel_values_videos"].dtype == torch.float32
    assert expected["frame_mask"].tolist() == [[1, 1, 1, 1]]
    for name, form in forms.items():
        found = processor(form, return_tensors="pt")
        assert torch.equal(found["pixel_values_videos"], expected["pixel_values_videos"]), name
    batch = processor(list(forms.values()), return_tensors="pt")["pixel_values_videos"]
    assert torch.equal(batch, expected["pixel_values_videos"].expand_as(batch))


@pytest.mark.parametrize("height, width", [(120, 200), (200, 121), (31, 40), (480, 360)])
def test_pixels_are_those_of_clip(height, width):
    frames = footage(2, height, width)
    ours = DmaeVideoProcessor(num_frames=2, **SIZES)(np.stack(frames), return_tensors="pt")["pixel_values_videos"][0]
    clip = CLIPImageProcessorPil(**SIZES)([Image.fromarray(frame) for frame in frames], return_tensors="pt")
    std = torch.tensor(CLIPImageProcessorPil().image_std).view(3, 1, 1)
    difference = ((ours - clip["pixel_values"]) * std * 255).abs()
    assert difference.mean() < 0.1 and difference.max() < 1.5


def test_pixels_from_a_file_are_those_of_clip(video, processor):
    ours = processor(video, return_tensors="pt")["pixel_values_videos"][0]
    clip = CLIPImageProcessorPil(**SIZES)(
        [Image.fromarray(f) for f in read_frames(video, 4).frames], return_tensors="pt"
    )
    assert (ours - clip["pixel_values"]).abs().mean() * 0.27 < 1 / 255


def test_one_bad_video_is_named(video, processor, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    with pytest.raises(VideoDecodeError, match=r"bad\.mp4"):
        processor([video, bad], return_tensors="pt")
    with pytest.raises(ValueError, match="shape"):
        processor(np.zeros((4, 5)), return_tensors="pt")


def test_padding_per_second(tmp_path, processor):
    short, long = (write_video(tmp_path / f"{count}.mp4", count, size=(64, 64)) for count in (30, 100))
    batch = processor([short, long], sampling="per_second", return_tensors="pt")
    assert batch["frame_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert not batch["pixel_values_videos"][0, 2:].any()
    assert batch["pixel_values_videos"].shape == (2, 4, 3, 48, 48)


def test_a_short_clip_repeats_frames(tmp_path):
    path = write_video(tmp_path / "a.mp4", 2, size=(64, 64))
    found = DmaeVideoProcessor(num_frames=4, do_normalize=False, do_rescale=False, **SIZES)(path, return_tensors="pt")
    assert read_numbers(found["pixel_values_videos"][0].permute(0, 2, 3, 1).numpy()) == [0, 0, 1, 1]
    assert found["frame_mask"].tolist() == [[1, 1, 1, 1]]


def test_arrays_are_sampled_as_files_are():
    frames = np.stack([np.full((64, 64, 3), value, np.uint8) for value in range(100)])
    plain = DmaeVideoProcessor(num_frames=7, do_normalize=False, do_rescale=False, **SIZES)

    def values(**options):
        return plain(frames, return_tensors="pt", **options)["pixel_values_videos"][0, :, 0, 0, 0].tolist()

    assert values() == middles(100, 7)
    assert values(num_frames=3) == middles(100, 3)
    assert values(sampling="per_second", video_metadata={"fps": 20, "total_num_frames": 100})[:5] == [
        0,
        20,
        40,
        60,
        80,
    ]
    assert len(values(do_sample_frames=False)) == 100


def test_per_call_size(video, processor):
    square = {"height": 32, "width": 32}
    found = processor(video, size={"shortest_edge": 32}, crop_size=square, return_tensors="pt")["pixel_values_videos"]
    expected = DmaeVideoProcessor(num_frames=4, size={"shortest_edge": 32}, crop_size=square)(
        video, return_tensors="pt"
    )
    assert torch.equal(found, expected["pixel_values_videos"])


def test_saved_and_loaded(tmp_path, video):
    processor = DmaeVideoProcessor(num_frames=3, sampling="per_second", resample=2, **SIZES)
    processor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "video_preprocessor_config.json").read_text())
    assert (saved["num_frames"], saved["sampling"], saved["video_processor_type"]) == (
        3,
        "per_second",
        "DmaeVideoProcessor",
    )
    assert saved["auto_map"] == {"AutoVideoProcessor": "video_processing_dmae.DmaeVideoProcessor"}
    loaded = DmaeVideoProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict()
    assert torch.equal(*(p(video, return_tensors="pt")["pixel_values_videos"] for p in (processor, loaded)))
