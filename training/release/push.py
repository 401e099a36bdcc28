"""A trained model out to the Hub: weights, config, processor, tokenizer, remote code and model card in one commit
(`dmae push`)."""

import json
import os
from pathlib import Path
from typing import NamedTuple

import yaml
from huggingface_hub import CommitOperationAdd, HfApi, constants
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,  # pyright: ignore[reportPrivateImportUsage]  of whichever HTTP library the client is built on
    RepositoryNotFoundError,
)
from huggingface_hub.utils import get_token, validate_repo_id

from dmae.modeling import DmaeConfig, DmaeError, InputError, ModelError
from dmae.modeling.errors import one_line

from ..config import load_config
from .model_card import REPO_PLACEHOLDER, TrainingRun, model_card, public_settings, save_model_card

# What a model's folder may publish. No pickles, optimizer states or checkpoints.
PUBLISHED = frozenset((".safetensors", ".json", ".txt", ".jinja", ".py", ".md", ".yaml", ".png"))
NEEDED = {
    "config.json": "model.save_pretrained writes it",
    "processor_config.json": "processor.save_pretrained writes it",
    "tokenizer_config.json": "processor.save_pretrained writes it",
}


class PublishingError(DmaeError, RuntimeError):
    """A model could not be published: one line that says why and what to do."""


class Published(NamedTuple):
    """Where a model is. changed: False where the repository already held exactly this."""

    url: str
    commit: str
    changed: bool


def publish_run(model_dir: str | os.PathLike, run: TrainingRun) -> Published | None:
    """Writes the card of a finished run into its model's folder and, with `push_to_hub`, publishes the folder."""
    save_model_card(model_dir, DmaeConfig.from_pretrained(model_dir), run)
    repo_id = run.config.hub_model_id
    if not run.config.push_to_hub or repo_id is None:
        return None
    try:
        return push_model(model_dir, repo_id, private=run.config.hub_private)
    except PublishingError as error:
        again = f"dmae push {model_dir} {repo_id}" + (" --private" if run.config.hub_private else "")
        raise PublishingError(f"{error}; the trained model is kept, publish it with `{again}`") from error


def prepare_repo(repo_id: str, *, private: bool = False, token: str | None = None) -> str:
    """Makes the repository where it does not exist, so that what would forbid a push is known before training.

    Returns:
        The commit that it is at.

    Raises:
        InputError: `repo_id` is no "owner/name". PublishingError: the Hub refuses or cannot be reached.
    """
    _check_name(repo_id)
    api = HfApi(token=token)
    try:
        api.create_repo(repo_id, private=private or None, exist_ok=True)
        found = api.repo_info(repo_id)
    except HTTPError as error:
        raise PublishingError(_explanation(error, repo_id, token)) from error
    if private and not found.private:
        raise PublishingError(f"{repo_id} exists and is public: make it private first, or push without --private")
    return found.sha or ""


def push_model(
    model_dir: str | os.PathLike,
    repo_id: str,
    *,
    private: bool = False,
    token: str | None = None,
    message: str = "Upload a DMAE model",
) -> Published:
    """Publishes a model's folder as one commit: a reader sees all of it or none.

    An interrupted call is repeated as it is: what has arrived is not sent again. Pushing an unchanged folder changes
    nothing. Files are added and replaced, never removed.

    Args:
        model_dir: what `save_pretrained` of the model and of the processor wrote. Its README.md, where there is one,
            becomes the card, with `REPO_PLACEHOLDER` replaced; otherwise one is made from the config.
        repo_id: "owner/name"; it is made where it does not exist.
        private: only the owner sees it. A public repository is refused rather than written to.
        token: by default HF_TOKEN, or the one of `hf auth login`.

    Raises:
        ModelError: the folder is no complete model. InputError: `repo_id` no such name.
        PublishingError: the Hub refuses or cannot be reached.
    """
    folder = Path(model_dir).expanduser()
    _check_name(repo_id)
    _check_folder(folder)
    operations = _operations(folder, repo_id)
    before = prepare_repo(repo_id, private=private, token=token)
    try:
        commit = HfApi(token=token).create_commit(repo_id, operations, commit_message=message)
    except HTTPError as error:
        raise PublishingError(_explanation(error, repo_id, token)) from error
    except RuntimeError as error:  # an upload whose connection is lost again and again
        cause = error.__cause__ or error
        raise PublishingError(
            f"the upload to {repo_id} was interrupted ({one_line(error)} {one_line(cause)}): nothing is published yet "
            "and what has arrived is kept; run the same command again"
        ) from error
    return Published(f"{constants.ENDPOINT}/{repo_id}", commit.oid, commit.oid != before)


def _check_name(repo_id: str) -> None:
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise InputError(f"{repo_id!r} is no repository name (owner/name): {one_line(error)}") from None
    if "/" not in repo_id:
        raise InputError(f"{repo_id!r} is no repository name: write it as owner/name")


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ModelError(f"{folder} is no folder: give one that a training run or save_pretrained wrote")
    for name, remedy in NEEDED.items():
        if not (folder / name).is_file():
            raise ModelError(f"{folder} has no {name}: {remedy}")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"{folder} has no weights (*.safetensors): model.save_pretrained writes them")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{folder}/config.json is no JSON: {one_line(error)}") from None
    if config.get("model_type") != "dmae":
        raise ModelError(f"{folder} holds a {config.get('model_type')!r} model, not 'dmae'")
    modules = {f"{name.split('.')[0]}.py" for name in (config.get("auto_map") or {}).values()}
    missing = sorted(name for name in modules if not (folder / name).is_file())
    if missing or not modules:
        raise ModelError(
            f"{folder} lacks the model's code ({', '.join(missing) or 'no auto_map in config.json'}), without which "
            "nobody can load it from the Hub: save it again with save_pretrained"
        )


def _operations(folder: Path, repo_id: str) -> list[CommitOperationAdd]:
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix in PUBLISHED]
    files = [path for path in files if not path.name.startswith(".") and path.name != "README.md"]
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else model_card(DmaeConfig.from_pretrained(folder))
    text = text.replace(REPO_PLACEHOLDER, repo_id).replace(REPO_PLACEHOLDER.split("/")[1], repo_id.split("/")[1])
    contents = {"README.md": text.encode()} | {path.name: str(path) for path in files}
    if "train_config.yaml" in contents:
        settings = public_settings(load_config(folder / "train_config.yaml"))
        contents["train_config.yaml"] = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True).encode()
    return [CommitOperationAdd(name, content) for name, content in contents.items()]


def _explanation(error: Exception, repo_id: str, token: str | None) -> str:
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status is None:
        return f"{constants.ENDPOINT} cannot be reached ({one_line(error)}): check the connection and run it again"
    if not (token or get_token()):
        return f"the Hub wants to know who writes to {repo_id}: log in with `hf auth login`, or set HF_TOKEN"
    if status == 401 and not isinstance(error, RepositoryNotFoundError):
        return "the Hub does not accept this token: make one with write permission and `hf auth login` again"
    if status in (401, 403, 404):
        return f"this token may not write to {repo_id}: use one with write permission for {repo_id.split('/')[0]!r}"
    return f"the Hub refused to publish {repo_id}: {one_line(error)}"
