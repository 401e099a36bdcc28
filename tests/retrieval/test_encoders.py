"""Indexing and searching with encoders other than CLIP."""

import pytest
from dual_encoders import save_dual_encoder
from video_files import write_video

from dmae import VideoIndex, load_pretrained
from dmae.retrieval import VideoIndexError


@pytest.mark.parametrize(("model_type", "query"), [("siglip", "A dog runs"), ("chinese_clip", "一只狗在草地上跑")])
def test_an_index_is_made_and_searched_with_any_encoder(model_type, query, tmp_path):
    save_dual_encoder(model_type, tmp_path / "model")
    model, processor = load_pretrained(tmp_path / "model", num_frames=4)
    (tmp_path / "videos").mkdir()
    for number in range(2):
        write_video(tmp_path / "videos" / f"{number}.mp4", 8 + 4 * number, size=(96, 48))
    index = VideoIndex.create(tmp_path / "index", model, processor)
    assert index.add(tmp_path / "videos", workers=0).added == 2
    assert {hit.id for hit in index.search(query, k=2)} == {"0.mp4", "1.mp4"}
    explanation = index.explain(query, index.search(query, k=1)[0].id)
    assert "".join(explanation.words).replace(" ", "") == query.replace(" ", "")
    assert len(explanation.word_weights) == len(explanation.similarity) > 1


def test_an_index_of_another_encoder_is_refused_by_name(tmp_path):
    for model_type in ("siglip", "siglip2"):
        save_dual_encoder(model_type, tmp_path / model_type)
    VideoIndex.create(tmp_path / "index", *load_pretrained(tmp_path / "siglip"))
    with pytest.raises(VideoIndexError, match=r"made with the model siglip .*, not siglip2 .*index the videos again"):
        VideoIndex.open(tmp_path / "index", *load_pretrained(tmp_path / "siglip2"))
