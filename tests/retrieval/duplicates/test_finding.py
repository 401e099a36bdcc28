"""Duplicates: copies, re-encodes and trims are grouped, what only looks alike here and there is not."""

import json
from fractions import Fraction

import numpy as np
import pytest
import torch
from embeddings import videos
from places import CLIPS
from torch.nn.functional import normalize
from video_files import write_video

from dmae import cli
from dmae.modeling.video_reading import read_frames
from dmae.retrieval import VideoIndex, VideoIndexError, cut_clip
from dmae.retrieval.duplicates import pairs

DIM, FRAMES, COUNT = 96, 12, 60


def noisy(frames, noise=0.1, seed=0):
    """As a re-encode changes frames: a cosine of 0.98 to 1."""
    change = torch.randn(frames.shape, generator=torch.Generator().manual_seed(seed))
    return normalize(frames + noise * normalize(change, dim=-1), dim=-1)


def add(index, name, frames, duration=None):
    seconds = float(len(frames) if duration is None else duration)
    times = torch.linspace(0, seconds, 2 * len(frames) + 1)[1::2]
    index.add_embeddings([name], frames[None], metadata=[{"duration": seconds}], frame_times=times[None])


def names(groups):
    return [[copy.id for copy in group] for group in groups]


@pytest.fixture(params=["float16", "int8"])
def index(request, tmp_path):
    """Sixty videos of changing frames, none like another."""
    index = VideoIndex.create(tmp_path / "index", dim=DIM, dtype=request.param)
    frames, _ = videos(COUNT, FRAMES, DIM, spread=1.0)
    metadata = [{"duration": float(FRAMES)}] * COUNT
    times = torch.arange(FRAMES).expand(COUNT, FRAMES) + 0.5
    index.add_embeddings([f"v{n}" for n in range(COUNT)], frames, None, metadata, frame_times=times)
    index.frames = frames
    return index


def test_there_are_no_duplicates_among_different_videos(index):
    assert index.duplicates() == []


def test_copies_re_encodes_and_trims_are_grouped_after_the_longest(index):
    add(index, "copy", index.frames[3])
    add(index, "re-encode", noisy(index.frames[3], seed=1))
    add(index, "trim", noisy(index.frames[3, 4:8], seed=2))
    add(index, "longer", torch.cat([index.frames[50, :3], noisy(index.frames[7], seed=3)]))
    first, second = index.duplicates()
    assert {copy.id for copy in first} == {"v3", "copy", "re-encode", "trim"} and first[-1].id == "trim"
    assert (first[-1].start, first[-1].end, first[-1].duration) == (4.0, 8.0, 4.0)
    assert all((copy.start, copy.end) == (0.0, 12.0) for copy in first[:3])
    assert names([second]) == [["longer", "v7"]]
    assert (second[1].start, second[1].end) == (3.0, 15.0)


def test_the_cosine_decides(index):
    add(index, "re-encode", noisy(index.frames[3], noise=0.3))  # cosines of 0.96
    assert sorted(names(index.duplicates(above=0.9))[0]) == ["re-encode", "v3"]
    assert index.duplicates(above=0.98) == []
    add(index, "copy", index.frames[4])
    assert sorted(names(index.duplicates(above=1))[0]) == ["copy", "v4"]


def test_one_odd_frame_does_not_hide_a_copy_and_some_like_frames_make_none(index):
    changed = index.frames[3].clone()
    changed[0] = index.frames[30, 0]
    add(index, "faded in", changed)
    changed = index.frames[4].clone()
    changed[:4] = index.frames[40, :4]
    add(index, "another end", changed)
    assert [sorted(group) for group in names(index.duplicates())] == [["faded in", "v3"]]


def test_black_that_every_film_has_makes_no_copies(tmp_path):
    index = VideoIndex.create(tmp_path / "index", dim=DIM)
    frames, _ = videos(COUNT, FRAMES, DIM, spread=1.0)
    frames[:, 0] = frames[:, -1] = frames[0, 0].clone()
    index.add_embeddings([f"v{n}" for n in range(COUNT)], frames, None, [{"duration": float(FRAMES)}] * COUNT)
    add(index, "black", frames[:1, 0].expand(4, DIM))
    assert index.duplicates() == []
    add(index, "black too", frames[:1, 0].expand(2, DIM))
    assert names(index.duplicates()) == [["black", "black too"]]


def test_segments_of_long_videos_are_compared_as_the_videos_that_they_make(tmp_path):
    index = VideoIndex.create(tmp_path / "index", dim=DIM)
    film = videos(1, 24, DIM, spread=1.0)[0][0]
    for name, frames, size in (("film", film, 4), ("trim", noisy(film[6:21]), 5), ("other", film.flip(1), 6)):
        count = len(frames) // size
        spans = [(float(n * size), float((n + 1) * size)) for n in range(count)]
        times = torch.arange(len(frames)).view(count, size) + 0.5
        index.add_embeddings(
            [name] * count,
            frames.view(count, size, DIM),
            None,
            [{"duration": float(len(frames))}] * count,
            frame_times=times,
            segments=spans,
        )
    ((first, second),) = index.duplicates()
    assert (first.id, second.id, second.start, second.end) == ("film", "trim", 6.0, 21.0)


@pytest.mark.parametrize("seed", [0, 1])
def test_many_cells_find_what_one_finds_with_a_part_of_its_products(monkeypatch, tmp_path, seed):
    index = VideoIndex.create(tmp_path / "index", dim=DIM)
    frames, _ = videos(1500, FRAMES, DIM, seed=seed, spread=1.0)
    copies = noisy(frames[:300], noise=0.2, seed=seed)
    index.add_embeddings([f"v{n}" for n in range(1500)], frames)
    index.add_embeddings([f"copy {n}" for n in range(300)], copies)
    products = []
    nonzero = np.nonzero
    monkeypatch.setattr(pairs.np, "nonzero", lambda alike: products.append(alike.size) or nonzero(alike))
    found = {tuple(sorted(group)) for group in names(index.duplicates())}
    part = sum(products)
    products.clear()
    monkeypatch.setattr(pairs, "EXACT", 10**6)
    everything = {tuple(sorted(group)) for group in names(index.duplicates())}
    assert everything == {(f"copy {n}", f"v{n}") for n in range(300)}
    assert found <= everything and len(found) >= 0.99 * len(everything)
    assert part < 0.25 * sum(products)


def test_shadows_never_hide_a_likeness():
    frames = normalize(torch.randn(200, 300, generator=torch.Generator().manual_seed(0)), dim=-1).numpy()
    made = pairs.Shadows(frames[:50])(frames)
    assert made.shape == (200, pairs.SHADOW)
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)
    assert (made @ made.T >= frames @ frames.T - 1e-5).all()


def test_an_index_of_format_1_an_empty_one_and_unknown_durations(tmp_path):
    from dmae.retrieval.storage.rows import make_rows
    from dmae.retrieval.storage.schema import IndexSettings
    from dmae.retrieval.storage.table import VideoTable

    table = VideoTable.create(tmp_path / "old", IndexSettings(DIM, format=1))
    frames, _ = videos(3, FRAMES, DIM, spread=1.0)
    table.write(make_rows(table.settings, ["a", "b", "c"], frames, None))
    index = VideoIndex.open(tmp_path / "old")
    assert index.duplicates() == []
    index.add_embeddings(["d"], frames[1:2, 2:8])
    ((first, second),) = index.duplicates()
    assert (first.id, second.id) == ("b", "d") and (second.start, second.end, first.end) == (None, None, None)
    assert VideoIndex.create(tmp_path / "empty", dim=DIM).duplicates() == []


@pytest.mark.parametrize("above", [0, 1.5, True, "0.9", float("nan")])
def test_what_is_no_cosine_is_told(index, above):
    with pytest.raises(VideoIndexError, match=r"above must be a cosine in \(0, 1\]"):
        index.duplicates(above=above)


def test_the_command_lists_groups(index, capsys):
    target = ["duplicates", "--index", index.uri]
    assert cli.main(target) == 0
    assert "no duplicates" in capsys.readouterr().out
    add(index, "trim", noisy(index.frames[3, 4:8]))
    assert cli.main(target) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == ["v3", "    trim  (00:04-00:08 of it)"] and "1 copies of 1 videos" in printed[2]
    assert cli.main([*target, "--json"]) == 0
    ((first, second),) = json.loads(capsys.readouterr().out)
    assert first["id"] == "v3" and second == {"id": "trim", "path": None, "duration": 4.0, "start": 4.0, "end": 8.0}
    assert cli.main([*target, "--above", "2"]) == 2
    assert "above must be a cosine" in capsys.readouterr().err


def seen(path, count):
    """`(count, D)`, in place of an encoder's: how a small picture's shades differ from their mean."""
    frames = torch.from_numpy(read_frames(path, count, size=64).frames).permute(0, 3, 1, 2).float()
    shades = torch.nn.functional.interpolate(frames, (8, 8), mode="area").flatten(1)
    return normalize(shades - shades.mean(dim=1, keepdim=True), dim=-1)


@pytest.mark.skipif(not CLIPS.is_dir(), reason="needs the real clips of ../shared/clips")
def test_a_real_clip_encoded_once_more_and_a_cut_of_it_are_found(tmp_path):
    clips = [CLIPS / f"{name}.mp4" for name in ("baseball", "boat", "peppers", "skateboarding_dog", "yoga")]
    whole = read_frames(clips[3], 192, size=160)
    height, width = (side // 2 * 2 for side in whole.frames.shape[1:3])
    pictures = list(whole.frames[:, :height, :width])
    rate = Fraction(192 / whole.duration).limit_denominator(1000)
    smaller = write_video(tmp_path / "smaller.mp4", pictures, rate=rate, size=(width, height), options={"crf": "35"})
    middle = whole.duration / 2
    cut = cut_clip(clips[3], middle - whole.duration / 4, middle + whole.duration / 4, tmp_path / "cut")
    index = VideoIndex.create(tmp_path / "index", dim=192)
    for path in (*clips, smaller, cut):
        # At one rate, as long videos are read: the cut is half as long.
        add(index, path.stem, seen(path, 12 if path is cut else 24), read_frames(path, 1).duration)
    (group,) = names(index.duplicates())
    assert set(group) == {"skateboarding_dog", "smaller", "cut"}
