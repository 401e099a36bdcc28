"""Publish a trained model, an index made with it, and a Space that searches it, on the Hub.

hf auth login
python examples/publish.py runs/mine clips.index your-name/clips

This makes the model `your-name/clips`, the dataset `your-name/clips-index` and the Space `your-name/clips-search`.
Videos are not uploaded: give `push_to_hub` also `include_videos=True` where you may share them.
"""

import argparse

from dmae import VideoIndex
from dmae.space.push_space import push_space
from dmae.training.release.push import push_model


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Publish a model, an index and a Space on the Hub.")
    parser.add_argument("model", help="folder that `dmae train` wrote")
    parser.add_argument("index", help="folder that `dmae index` wrote")
    parser.add_argument("name", help="owner/name of the model; the others are named after it")
    args = parser.parse_args(argv)

    print("model:", push_model(args.model, args.name).url)
    index = VideoIndex.open(args.index, read_only=True)
    print("index:", index.push_to_hub(f"{args.name}-index", model_id=args.name))
    print("Space:", push_space(f"{args.name}-search", model=args.name, index=f"{args.name}-index"))


if __name__ == "__main__":
    main()
