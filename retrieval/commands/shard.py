"""`dmae shard FOLDER`: splits an index into tables that are searched beside each other; run again, it follows."""

import argparse
import json

from .arguments import add_index, storage_options


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("destination", metavar="URI", help="folder or object store for the shards")
    add_index(parser)
    parser.add_argument("--shards", type=int, required=True, metavar="N", help="how many tables")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    from ..storage.sharding import split
    from ..storage.table import VideoTable

    options = storage_options(args)
    table = VideoTable.open(args.index, read_only=True, storage_options=options)
    shards = split(table, args.destination, args.shards, options)
    pattern = f"{args.destination.rstrip('/')}/*-of-{args.shards}"
    counts = {shard.uri: shard.count() for shard in shards}
    if args.json:
        print(json.dumps({"shards": pattern, "videos": counts}))
        return 0
    for uri, count in counts.items():
        print(f"{uri}: {count} videos")
    print(f"search them with: serve run dmae.retrieval.serving:build model=MODEL 'shards={pattern}'")
    return 0
