"""A query that is a file is read as what it is, or refused; a text is searched for, whatever it holds."""

import numpy as np
import pytest
import torch
from PIL import Image
from training_parts import tiny_model
from video_files import write_video

from dmae.modeling import VideoDecodeError
from dmae.retrieval import VideoIndexError
from dmae.retrieval.media import find_videos, names_media
from dmae.retrieval.search.query import encode_queries, words_of


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def encoded(model, query) -> torch.Tensor:
    return encode_queries(*model, [query])[0].features.sentence_embeds[0]


@pytest.fixture(scope="module")
def picture():
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24], pixels[30:40, 4:18] = (250, 60, 60), (250, 250, 0)
    return Image.fromarray(pixels)


def test_a_photo_counts_as_it_is_shown(model, picture, tmp_path):
    picture.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[274] = 6
    picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "phone.png", exif=exif)
    expected = encoded(model, picture)
    for query in (
        tmp_path / "phone.png",
        str(tmp_path / "phone.png"),
        (tmp_path / "phone.png").read_bytes(),
        {"path": None, "bytes": (tmp_path / "phone.png").read_bytes()},
        Image.open(tmp_path / "phone.png"),
        np.asarray(picture),
    ):
        torch.testing.assert_close(encoded(model, query), expected)


@pytest.mark.parametrize("suffix", [".avif", ".jfif", ".JPE", ".xyz", ""])
def test_pictures_of_any_suffix(model, picture, tmp_path, suffix):
    path = tmp_path / f"a picture{suffix}"
    picture.save(path, format="AVIF" if suffix == ".avif" else "PNG", quality=100)
    torch.testing.assert_close(encoded(model, str(path)), encoded(model, picture), atol=0.05, rtol=0)


@pytest.mark.parametrize("suffix", [".vob", ".mxf", ".xyz", ""])
def test_videos_of_any_suffix(model, tmp_path, suffix):
    codec = "mpeg2video" if suffix in (".vob", ".mxf") else "libx264"
    container = suffix if suffix in (".vob", ".mxf") else ".mp4"
    options = {"qmin": "2", "qmax": "2"} if codec == "mpeg2video" else None
    film = write_video(tmp_path / f"film{container}", 10, codec=codec, options=options)
    path = film.rename(tmp_path / f"a film{suffix}")
    torch.testing.assert_close(encoded(model, str(path)), encoded(model, path))


@pytest.mark.parametrize(
    "name", ["photo.HEIC", "two words.avif", "notes.xyz", "plain", "half.jpg", "folder.jpg/a.png"]
)
def test_a_file_that_cannot_be_read_is_refused_and_not_searched_for(model, tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"this is nothing that anybody could look at")
    with pytest.raises(VideoDecodeError, match="cannot be read") as told:
        encoded(model, str(path))
    assert str(path) in str(told.value)


def test_a_misspelt_path_is_told(model, tmp_path):
    for name in ("dgo.jfif", "dgo.heic", "dgo.vob", "dgo.mp4"):
        with pytest.raises(VideoIndexError, match=f"no file.*{name}"):
            encoded(model, str(tmp_path / name))
    assert not names_media("a dog in the film a.mp4") and not names_media("dog") and not names_media("\0" * 9)


def test_a_text_with_half_a_character_is_searched_for_without_it(model):
    for text in ("a red \ud83d square", "\udfff", "a \udc80 file name", "\ud83d\ude00 joined"):
        assert torch.isfinite(encoded(model, text)).all()
    torch.testing.assert_close(encoded(model, "a \ud83d dog"), encoded(model, "a \ufffd dog"))
    (query,) = encode_queries(*model, ["a \ud83d dog"])
    assert words_of(model[1], query)[0][0] == "a"


def test_programs_in_typescript_are_no_videos(tmp_path):
    write_video(tmp_path / "film.ts", 10)
    write_video(tmp_path / "film.mts", 10, muxing={"mpegts_m2ts_mode": "1"})
    (tmp_path / "cut.ts").write_bytes((tmp_path / "film.ts").read_bytes()[100:3000])
    (tmp_path / "failed.ts").touch()
    (tmp_path / "app.ts").write_text("export const GREETING = 'Good Gracious';\n" * 200)
    (tmp_path / "short.ts").write_text("G")
    (tmp_path / "module.mts").write_text("import { G } from './G';\n" * 100)
    assert [path.name for path in find_videos(tmp_path)] == ["cut.ts", "failed.ts", "film.mts", "film.ts"]
