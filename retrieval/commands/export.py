"""`dmae export FILE.parquet`: an index's embeddings and metadata as one Parquet file."""

import argparse
import os
from pathlib import Path

from dmae.modeling.written_files import check_writable, writing

from ..errors import VideoIndexError
from .arguments import add_index, storage_options

ROWS = 2048


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("destination", type=Path, metavar="FILE", help="Parquet file to write")
    add_index(parser)
    parser.add_argument("--where", metavar="FILTER", help="only these videos")
    parser.add_argument("--thumbnails", action="store_true", help="include the thumbnails")


def run(args: argparse.Namespace) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from ..storage.table import VideoTable

    table = VideoTable.open(args.index, read_only=True, storage_options=storage_options(args))
    names = [name for name in table.columns if args.thumbnails or name != "thumbnail"]
    table.num_segments(args.where)  # a broken filter is told before a file is made
    check_writable("FILE", args.destination)
    partial = args.destination.with_name(f"{args.destination.name}.part")
    writer, rows, videos = None, 0, set()
    with writing("FILE", args.destination):
        for batch in table.scan_batches(names, ROWS, args.where):
            batch = pa.Table.from_batches([batch]).select(names)
            writer = writer or pq.ParquetWriter(partial, batch.schema)
            writer.write_table(batch)
            rows += batch.num_rows
            videos.update(batch["id"].to_pylist())
        if writer is None:
            raise VideoIndexError(f"nothing to export from {args.index}")
        writer.close()
        os.replace(partial, args.destination)
    print(f"{args.destination}: {len(videos)} videos in {rows} rows, one per segment")
    return 0
