"""The dataset card of a shared index, written from what the index knows."""

from pathlib import Path

from huggingface_hub import DatasetCard, DatasetCardData

from ..storage.table import VideoTable

_BODY = """# A video index of {count} videos

Made with [dmae](https://arxiv.org/abs/2309.11082): text-video search by the exact DMAE score.

| | |
| --- | --- |
| videos | {count} |
| total length | {length} |
| model | {model} |
| preprocessing | {preprocessing} |
| frame embeddings | {dim} dimensions, {dtype} |
| source videos | {sources} |

```python
from dmae import VideoIndex, load_pretrained

model, processor = load_pretrained("{model_id}")
index = VideoIndex.from_hub("{repo_id}", model, processor)
index.search("a dog on a skateboard", k=5)
```

The index holds embeddings, frame times, thumbnails and metadata. It is opened read-only; copy the folder to change it.
"""


def write_card(table: VideoTable, folder: Path, repo_id: str, model_id: str) -> None:
    """Writes `README.md` into the folder that is about to be uploaded."""
    settings = table.settings
    seconds = sum(duration or 0 for duration in table.videos(["duration"])["duration"].to_pylist())
    data = DatasetCardData(tags=["video", "video-search", "text-video-retrieval", "lance"], task_categories=["other"])
    text = _BODY.format(
        count=table.count(),
        length=f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min",
        model=settings.model,
        preprocessing=settings.preprocessing,
        dim=settings.dim,
        dtype=settings.dtype,
        sources="included, under `videos/`" if (folder / "videos").is_dir() else "not included",
        model_id=model_id or "the model",
        repo_id=repo_id,
    )
    DatasetCard(f"---\n{data.to_yaml()}\n---\n\n{text}").save(folder / "README.md")
