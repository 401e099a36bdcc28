"""mteb's own evaluator on a tiny task in the schema of its video tasks, beside our evaluation of the same videos."""

import json
from pathlib import Path

import pytest
from datasets import Dataset, Video
from training_parts import save_tiny_model, write_corpus

mteb = pytest.importorskip("mteb")

from mteb.abstasks.retrieval import AbsTaskRetrieval  # noqa: E402
from mteb.abstasks.task_metadata import TaskMetadata  # noqa: E402

from dmae.modeling import load_pretrained  # noqa: E402
from dmae.training.corpora.samples import VideoSample  # noqa: E402
from dmae.training.evaluation.evaluation import evaluate_model  # noqa: E402
from dmae.training.evaluation.mteb_model import DmaeSearchModel, registry_file  # noqa: E402


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mteb")
    corpus = write_corpus(folder / "corpus")
    return corpus, save_tiny_model(folder / "model", corpus)


def rows_of(corpus) -> list[dict]:
    lines = (corpus / "captions.jsonl").read_text().splitlines()
    return [{"path": str(corpus / row["video"]), "caption": row["captions"][0]} for row in map(json.loads, lines)]


def make_task(rows: list[dict], category: str) -> AbsTaskRetrieval:
    """What mteb's MSR-VTT task is once loaded, of our own videos, as bytes."""
    ids = [str(number) for number in range(len(rows))]
    texts = Dataset.from_dict({"id": ids, "text": [row["caption"] for row in rows]})
    files = [{"bytes": Path(row["path"]).read_bytes(), "path": None} for row in rows]
    videos = Dataset.from_dict({"id": ids, "video": files}).cast_column("video", Video())
    queries, documents = (texts, videos) if category == "t2v" else (videos, texts)

    class TinyTask(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name=f"Tiny{category}",
            description="Coloured pictures.",
            dataset={"path": "none/none", "revision": "none"},
            type="Any2AnyRetrieval",
            eval_langs=["eng-Latn"],
            eval_splits=["test"],
            main_score="ndcg_at_10",
            reference=None,
            category=category,
            modalities=["text", "video"],
            date=None,
            domains=None,
            task_subtypes=None,
            license=None,
            annotations_creators=None,
            dialect=None,
            sample_creation=None,
            bibtex_citation=None,
            is_beta=True,
        )

        def load_data(self, *_, **__):
            split = {"queries": queries, "corpus": documents, "relevant_docs": {i: {i: 1} for i in ids}}
            self.dataset = {"default": {"test": {**split, "top_ranked": None}}}
            self.data_loaded = True

    return TinyTask()


@pytest.mark.parametrize("category", ["t2v", "v2t"])
def test_mtebs_recall_is_ours(places, category):
    corpus, folder = places
    rows = rows_of(corpus)
    found = mteb.evaluate(
        DmaeSearchModel(str(folder), workers=1), make_task(rows, category), cache=None, co2_tracker=False
    )
    (scores,) = found.task_results[0].scores["test"]
    model, processor = load_pretrained(str(folder))
    samples = [VideoSample(row["path"], row["path"], (row["caption"],)) for row in rows]
    ours = evaluate_model(model, processor, samples, progress=False)
    for k in (1, 5, 10):
        assert 100 * scores[f"recall_at_{k}"] == pytest.approx(ours[f"{category}_R@{k}"], abs=1e-3)
    assert ours[f"{category}_R@10"] > 0 and ours[f"{category}_R@1"] < 100


def test_a_video_that_cannot_be_read_is_never_found(places):
    corpus, folder = places
    model = DmaeSearchModel(str(folder), workers=1)
    rows = rows_of(corpus)[:3]
    task = make_task(rows, "t2v")
    task.load_data()
    data = task.dataset["default"]["test"]
    broken = [{"bytes": b"no video", "path": None}] + [
        {"bytes": Path(r["path"]).read_bytes(), "path": None} for r in rows[1:]
    ]
    model.index(Dataset.from_dict({"id": ["0", "1", "2"], "video": broken}).cast_column("video", Video()))
    found = model.search(data["queries"], top_k=5)
    assert [sorted(hits) for hits in found.values()] == [["1", "2"]] * 3
    with pytest.raises(ValueError, match="compares texts with videos"):
        model.search(data["corpus"], top_k=5)


def test_the_registry_file_makes_a_model_that_mteb_loads(places, monkeypatch):
    _, folder = places
    text = registry_file(str(folder), "main", "2026-01-31", training_datasets=["MSRVTTT2V"], adapted_from="a/clip")
    monkeypatch.chdir(folder.parent)
    # mteb takes "owner/name" only; the folder is found by it from where the test stands.
    owner = folder.parent.name
    monkeypatch.chdir(folder.parents[1])
    namespace = {}
    exec(compile(text.replace(repr(str(folder)), repr(f"{owner}/{folder.name}")), "dmae_models.py", "exec"), namespace)
    (meta,) = [value for value in namespace.values() if isinstance(value, mteb.models.ModelMeta)]
    assert meta.name == f"{owner}/{folder.name}" and str(meta.release_date) == "2026-01-31"
    assert meta.training_datasets == {"MSRVTTT2V"} and meta.open_weights and meta.license == "apache-2.0"
    loaded = meta.loader(meta.name, None)  # `load_model` besides asks for mteb's extra of torchcodec, which has no use
    assert isinstance(loaded, DmaeSearchModel)
    assert meta.n_parameters == sum(parameter.numel() for parameter in loaded.model.parameters())
    assert loaded.mteb_model_meta.n_embedding_parameters == meta.n_embedding_parameters
