"""`dmae push-space`: the search page as a Space on the Hub, with this very version of the package beside it."""

import argparse
import re
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("modeling", "retrieval", "space", "training")
CARRIED = frozenset((".py", ".css", ".js", ".md", ".txt", ".yaml"))
AT_THE_ROOT = ("app.py", "README.md", "requirements.txt")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("repo", metavar="REPO", help="Space to create or update, as owner/name")
    parser.add_argument("--model", default="", metavar="ID", help="Hub id of the model (default: a demo made there)")
    parser.add_argument("--index", default="", metavar="ID", help="Hub id of the index, a dataset repository")
    parser.add_argument("--private", action="store_true", help="create the Space as private")


def run(args: argparse.Namespace) -> None:
    print(push_space(args.repo, model=args.model, index=args.index, private=args.private))


def push_space(repo_id: str, *, model: str = "", index: str = "", private: bool = False) -> str:
    """Creates or updates a Space and returns its address.

    Args:
        model, index: Hub ids that the Space is to use, both or neither.

    Raises:
        InputError: ids that are none, or only one of the two. DmaeError: the Hub refused.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, HTTPError  # pyright: ignore[reportPrivateImportUsage]

    from dmae.modeling import DmaeError, InputError, one_line

    if bool(model) != bool(index):
        raise InputError("a model and an index belong together: give both --model and --index, or neither")
    for name in filter(None, (repo_id, model, index)):
        if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name):
            raise InputError(f"{name} is not a Hub id: write owner/name (share an index with `dmae push-index` first)")
    api = HfApi()
    try:
        url = api.create_repo(repo_id, repo_type="space", space_sdk="gradio", private=private, exist_ok=True)
        operations = [CommitOperationAdd(path, content) for path, content in space_files(model, index).items()]
        api.create_commit(repo_id, operations, commit_message="Publish the search page", repo_type="space")
    except (HfHubHTTPError, HTTPError) as error:
        raise DmaeError(f"{repo_id} could not be published: {one_line(error, 300)}") from error
    return str(url)


def space_files(model: str = "", index: str = "") -> dict[str, bytes]:
    """What a Space's repository holds: path -> content.

    The package is there as pip would unpack it: a Space installs requirements before its files are there, and cannot
    install from them.
    """
    here = Path(__file__).parent
    files = {name: (here / name).read_bytes() for name in AT_THE_ROOT}
    files["README.md"] = _name_repositories(files["README.md"].decode(), model, index).encode()
    files["defaults.env"] = f"DMAE_MODEL={model}\nDMAE_INDEX={index}\n".encode()
    for root in _folders("dmae"):
        files |= {f"dmae/{path.name}": path.read_bytes() for path in sorted(Path(root).glob("*.py"))}
    for package in PACKAGES:
        for root in _folders(f"dmae.{package}"):
            for path in sorted(Path(root).rglob("*")):
                if path.suffix in CARRIED and path.is_file() and "__pycache__" not in path.parts:
                    files[f"dmae/{package}/{path.relative_to(root).as_posix()}"] = path.read_bytes()
    return files


def _folders(package: str) -> list[str]:
    spec = find_spec(package)
    return list((spec and spec.submodule_search_locations) or ())


def _name_repositories(readme: str, model: str, index: str) -> str:
    """The README with the model and the index in its head, so that the Hub links them."""
    for key, name in (("models", model), ("datasets", index)):
        if name:
            readme = readme.replace(f"{key}: []\n", f"{key}:\n- {name}\n", 1)
    return readme
