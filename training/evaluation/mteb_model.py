"""A DMAE checkpoint in `mteb`, whose video retrieval tasks it answers with its own late-interaction score.

    import mteb
    from dmae.training.evaluation.mteb_model import DmaeSearchModel

    tasks = mteb.get_tasks(["MSRVTTT2V", "MSVDT2VRetrieval", "DiDeMoT2VRetrieval", "ActivityNetCaptionsT2VRetrieval"])
    mteb.evaluate(DmaeSearchModel("your-name/your-model"), tasks)

`registry_file` writes what a pull request to mteb's registry needs, one file.

mteb's splits are not the published protocols (879 of MSR-VTT's 1,000 test videos, one caption a video of MSVD,
ActivityNet's val2), so its figures stand beside other models of mteb, not beside those of papers.
"""

import logging
import re
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Video

from dmae.modeling import InputError
from dmae.modeling.encoding import encode_texts
from dmae.modeling.loading import load_pretrained

from ..corpora.samples import VideoSample
from .evaluation import encode_readable_videos, require_numbers, similarity_matrix

logger = logging.getLogger(__name__)


REGISTRY_FILE = '''\
"""DMAE + TPM-CL: text-video search by words and frames (https://arxiv.org/abs/2309.11082)."""

from mteb.models.model_meta import ModelMeta, ScoringFunction


def dmae_loader(model_name, revision=None, **kwargs):
    """Needs `pip install dmae-video-search`."""
    from dmae.training.evaluation.mteb_model import DmaeSearchModel

    return DmaeSearchModel(model_name, revision, **kwargs)


{variable} = ModelMeta(
    loader=dmae_loader,
{fields}
)
'''


def model_facts(model, processor) -> dict:
    """What mteb's `ModelMeta` tells of a model and the model itself knows."""
    parameters = list(model.parameters())
    return {
        "languages": ["eng-Latn"],
        "modalities": ["text", "video"],
        "n_parameters": sum(parameter.numel() for parameter in parameters),
        "n_embedding_parameters": model.get_input_embeddings().weight.numel(),
        "memory_usage_mb": round(sum(p.numel() * p.element_size() for p in parameters) / 2**20),
        "embed_dim": model.config.projection_dim,
        "max_tokens": processor.max_words,
        "framework": ["PyTorch"],
        "model_type": ["late-interaction"],
        "use_instructions": False,
    }


def registry_file(
    model_name: str,
    revision: str,
    release_date: str,
    *,
    license: str | None = "apache-2.0",
    training_datasets: Sequence[str] = (),
    adapted_from: str | None = None,
    training_code: str | None = None,
    **options,
) -> str:
    """The Python file that a pull request to mteb adds as `mteb/models/model_implementations/dmae_models.py`.

    Args:
        model_name: the published model, "owner/name". revision: its commit. release_date: "YYYY-MM-DD".
        license: of the weights; None where they are not open.
        training_datasets: as mteb names its tasks, for example "MSRVTTT2V": figures on them are no zero-shot figures.
        adapted_from: the checkpoint that it began as. training_code: where the code is published.
        options: of `load_pretrained`.
    """
    model, processor = load_pretrained(model_name, **options)
    fields = {
        "name": model_name,
        "revision": revision,
        "release_date": release_date,
        **model_facts(model, processor),
        "license": license,
        "open_weights": license is not None,
        "public_training_code": training_code,
        "public_training_data": None,
        "training_datasets": set(training_datasets),
        "adapted_from": adapted_from,
        "reference": f"https://huggingface.co/{model_name}",
    }
    written = [f"    {name}={value!r}," for name, value in fields.items()]
    variable = re.sub(r"\W+", "_", model_name.split("/")[-1]).strip("_").lower()
    return REGISTRY_FILE.format(
        variable=f"_{variable}" if variable[:1].isdigit() else variable,
        fields="\n".join([*written, "    similarity_fn_name=ScoringFunction.CUSTOM,"]),
    )


class DmaeSearchModel:
    """mteb's `SearchProtocol`: every text of a task is scored with every video, exactly.

    Args:
        model_name: a DMAE or CLIP checkpoint, folder or Hub id.
        revision: of the checkpoint on the Hub.
        device: "cpu", "cuda", …; by default a GPU where there is one.
        batch_size: videos encoded at once, whatever mteb's own default is. workers: processes that decode.
        options: further ones of `load_pretrained`. Those that mteb passes to every loader and that mean nothing here
            (`trust_remote_code`) change nothing: our own code loads the checkpoint.
    """

    def __init__(
        self,
        model_name: str,
        revision: str | None = None,
        *,
        device: str | None = None,
        batch_size: int = 16,
        workers: int = 2,
        **options,
    ):
        self.name, self.revision = model_name, revision
        self.model, self.processor = load_pretrained(
            model_name, **({"revision": revision} if revision else {}), **options
        )
        self.model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
        self.batch_size, self.workers = batch_size, workers
        self._corpus: tuple[str, list[str], Any] | None = None

    @property
    def mteb_model_meta(self):
        from mteb.models import ModelMeta

        name = self.name.strip("/").split("/")[-2:]
        named = {"name": "/".join(name if len(name) == 2 else ["local", *name]), "revision": self.revision or "main"}
        return ModelMeta.create_empty({"loader": DmaeSearchModel, **named, **model_facts(self.model, self.processor)})

    def index(self, corpus, *, encode_kwargs=None, **_) -> None:
        """Encodes the texts or videos that are searched."""
        self._corpus = self._encode(corpus, encode_kwargs or {})

    def search(self, queries, *, top_k: int, top_ranked=None, encode_kwargs=None, **_) -> dict[str, dict[str, float]]:
        """The scores of each query's `top_k` best documents, by query and document id."""
        kind, ids, features = self._encode(queries, encode_kwargs or {})
        if self._corpus is None:
            raise InputError("nothing to search in: call index first")
        corpus_kind, corpus_ids, corpus = self._corpus
        if {kind, corpus_kind} != {"text", "video"}:
            raise InputError(f"DMAE compares texts with videos, this task {kind} with {corpus_kind}")
        text, video = (features, corpus) if kind == "text" else (corpus, features)
        scores = similarity_matrix(self.model, text, video, progress=False)
        require_numbers(scores)
        scores = scores if kind == "text" else scores.t()
        results = {str(query): {} for query in queries["id"]}  # one that could not be read finds nothing
        for query, row in zip(ids, scores):
            if top_ranked is not None:
                allowed = set(map(str, top_ranked[query]))
                row = row.masked_fill(torch.tensor([document not in allowed for document in corpus_ids]), -torch.inf)
            best = row.topk(min(top_k, len(row)))
            pairs = zip(best.values.tolist(), best.indices.tolist())
            results[query] = {corpus_ids[at]: score for score, at in pairs if score > -torch.inf}
        return results

    def _encode(self, dataset, encode_kwargs: dict) -> tuple[str, list[str], Any]:
        """Which of "text" and "video" the dataset holds, the ids of what could be read, and their features."""
        progress = encode_kwargs.get("show_progress_bar", False)
        if "video" not in dataset.column_names:
            if "text" not in dataset.column_names:
                raise InputError(f"DMAE reads a column 'text' or 'video', this task has {dataset.column_names}")
            features = encode_texts(self.model, self.processor, list(dataset["text"]))
            return "text", [str(name) for name in dataset["id"]], features
        # Its files as they are: mteb's own decoding needs torchcodec.
        dataset = dataset.cast_column("video", Video(decode=False))
        samples = [VideoSample(str(row["id"]), row["video"], ("",)) for row in dataset]
        sizes = (self.batch_size, self.workers)
        features, kept, skipped = encode_readable_videos(self.model, self.processor, samples, *sizes, progress)
        if skipped:
            logger.warning("%d of %d videos could not be read and are never found", len(skipped), len(samples))
        return "video", [sample.video_id for sample in kept], features
