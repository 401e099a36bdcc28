"""Sharing an index on the Hub as a dataset repository with its card, and opening one from there."""

import os
import shutil
import tempfile
from pathlib import Path

from huggingface_hub import DatasetCard, DatasetCardData

from ..errors import VideoIndexError
from ..storage.schema import TABLE_NAME
from ..storage.table import VideoTable

INDEX_FOLDER = "index"
VIDEOS_FOLDER = "videos"
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


def push(
    table: VideoTable, repo_id: str, *, private: bool = False, include_videos: bool = False, model_id=None, token=None
) -> str:
    """Uploads an index with a card that says what it holds and how to search it, and returns the repository's URL.

    Thumbnails travel in the index. Source videos do not, unless asked for: sharing them is a matter of rights. Paths
    are reduced to what lies below the folder that was indexed.

    Args:
        table: of the index, on this machine or an object store.
        repo_id: dataset repository, made if it is not there.
        include_videos: upload the source files too, under `videos/`.
        model_id: the model to name in the card; by default the one the index was made with.

    Raises:
        VideoIndexError: a video that was to be uploaded is gone, or has the name of another there.
    """
    from huggingface_hub import HfApi

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _copy_clean(table, folder / INDEX_FOLDER)
        if include_videos:
            _link_videos(table, folder / VIDEOS_FOLDER)
        write_card(table, folder, repo_id, model_id or table.settings.model.name)
        api = HfApi(token=token)
        url = api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
        # The README goes with the first commit: a push without one writes a template.
        api.upload_folder(
            repo_id=url.repo_id,
            repo_type="dataset",
            folder_path=folder,
            commit_message=f"Upload a video index of {table.count()} videos",
            delete_patterns=[f"{INDEX_FOLDER}/**"],
        )
    return str(url)


def download(repo_id: str, revision: str | None = None, token=None, *, videos: bool = False) -> str:
    """The folder of a shared index on this machine; with `videos`, what was shared under `videos/` lies beside it."""
    from huggingface_hub import snapshot_download

    wanted = [f"{folder}/**" for folder in (INDEX_FOLDER, *((VIDEOS_FOLDER,) if videos else ()))]
    snapshot = snapshot_download(repo_id, repo_type="dataset", revision=revision, token=token, allow_patterns=wanted)
    folder = os.path.join(snapshot, INDEX_FOLDER)
    if not VideoTable.exists(folder):
        raise VideoIndexError(
            f"the dataset {repo_id} holds no video index: it has no folder {INDEX_FOLDER}/{TABLE_NAME}.lance"
        )
    return folder


def _copy_clean(table: VideoTable, destination: Path) -> None:
    """A copy of the latest version alone, one data file a few thousand videos, with relative paths."""
    copy = VideoTable.create(destination, table.settings)
    names = table.columns
    for batch in table.scan_batches(names, 2048):
        copy.append(_without_local_paths(batch.select(names)))


def _without_local_paths(batch):
    import pyarrow as pa

    table = pa.Table.from_batches([batch])
    at = table.column_names.index("path")
    paths = [
        None if path is None else shared_name(i) for i, path in zip(table["id"].to_pylist(), table["path"].to_pylist())
    ]
    return table.set_column(at, "path", pa.array(paths, pa.string()))


def shared_name(video_id: str) -> str:
    """Where a video lies below `videos/`: its id as a relative path that leaves no folder."""
    parts = [part for part in Path(video_id).parts if part not in ("..", ".", os.sep)]
    return "/".join([VIDEOS_FOLDER, *parts])


def _link_videos(table: VideoTable, destination: Path) -> None:
    for row in table.videos(["id", "path"]).to_pylist():
        source, target = row["path"], destination.parent / shared_name(row["id"])
        if not source or not os.path.isfile(source):
            raise VideoIndexError(f"video {row['id']!r} cannot be uploaded: no file {source}")
        if target.exists():  # never written over: it may be a link to somebody's file
            raise VideoIndexError(f"video {row['id']!r} cannot be uploaded: another is {shared_name(row['id'])!r} too")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.symlink(os.path.abspath(source), target)
        except OSError:
            shutil.copyfile(source, target)


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
        sources=f"included, under `{VIDEOS_FOLDER}/`" if (folder / VIDEOS_FOLDER).is_dir() else "not included",
        model_id=model_id or "the model",
        repo_id=repo_id,
    )
    DatasetCard(f"---\n{data.to_yaml()}\n---\n\n{text}").save(folder / "README.md")
