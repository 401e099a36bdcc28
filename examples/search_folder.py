"""Search the videos of a folder by text.

python examples/search_folder.py ~/clips "a dog on a skateboard"

The first run indexes the folder; the next ones only what is new in it. Any CLIP model searches without training.
"""

import argparse

from dmae import VideoIndex, load_pretrained


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Search the videos of a folder by text.")
    parser.add_argument("folder")
    parser.add_argument("query")
    parser.add_argument("--model", default="openai/clip-vit-base-patch32", help="folder or Hub id")
    parser.add_argument("--index", default="clips.index", help="where the index is, or is made")
    args = parser.parse_args(argv)

    model, processor = load_pretrained(args.model)
    open_or_create = VideoIndex.open if VideoIndex.exists(args.index) else VideoIndex.create
    index = open_or_create(args.index, model, processor)
    report = index.add(args.folder)
    print(f"{len(index)} videos, {report.added} of them new")
    for path, reason in report.failed:
        print(f"left out: {path}: {reason}")

    for hit in index.search(args.query, k=5):
        moment = "" if hit.best_time is None else f"  at {hit.best_time:.1f} s"
        print(f"{hit.score:.3f}  {hit.path}{moment}")


if __name__ == "__main__":
    main()
