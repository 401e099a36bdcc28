"""`dmae push-index REPO`: an index on the Hub, as a dataset repository with a card."""

import argparse

from dmae.modeling.errors import one_line

from ..errors import VideoIndexError
from .arguments import add_index, storage_options


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("repo", metavar="REPO", help="dataset repository, owner/name; made where it does not exist")
    add_index(parser)
    parser.add_argument("--videos", action="store_true", help="upload the source videos too, under videos/")
    parser.add_argument("--model-id", metavar="ID", help="model that the card names (default: the index's own)")
    parser.add_argument("--private", action="store_true", help="only the owner sees it")


def run(args: argparse.Namespace) -> int:
    from huggingface_hub.errors import HFValidationError, HTTPError  # pyright: ignore[reportPrivateImportUsage]

    from ..index import VideoIndex

    index = VideoIndex.open(args.index, read_only=True, storage_options=storage_options(args))
    try:
        url = index.push_to_hub(args.repo, private=args.private, include_videos=args.videos, model_id=args.model_id)
    except HFValidationError as error:
        raise VideoIndexError(f"{args.repo!r} is no repository name (owner/name): {error}") from None
    except HTTPError as error:
        raise VideoIndexError(f"{args.repo} could not be published: {one_line(error, 300)}") from error
    print(url)
    return 0
