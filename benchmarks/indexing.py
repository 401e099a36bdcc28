"""Does indexing hide the faster of decoding and encoding behind the slower?

    python benchmarks/indexing.py                                   # 60 drawn videos, a tower of ViT-B/32's size
    python benchmarks/indexing.py ~/clips --model openai/clip-vit-base-patch32

Prints videos a second of decoding alone (the same worker processes), encoding alone (the same batches, already
decoded) and of `VideoIndex.add`, and the last as a share of two others: of the slower of the first two, which is what
an accelerator beside the cores could reach, and of both after one another, which is the most that one set of cores
can do when each half keeps all of them busy by itself. Without an accelerator the second share is the one to read:
at 1, nothing is wasted between the halves; over 1, they fill each other's gaps.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from dmae.modeling.frame_loader import FrameLoader
from dmae.modeling.loading import load_pretrained
from dmae.retrieval import VideoIndex
from dmae.retrieval.media import find_videos
from dmae.training.synthetic.init import new_model
from dmae.training.synthetic.synthetic import write_corpus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, nargs="?")
    parser.add_argument("--model")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=8)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpus = args.corpus or write_corpus(Path(folder, "videos"), num_train=1, num_test=60, size=224) / "test"
        model, processor = load_pretrained(args.model) if args.model else vit_b32()
        measure(corpus, model.eval(), processor, args)


def vit_b32() -> tuple:
    return new_model(
        ["a red star"], image_size=224, patch_size=32, width=768, vision_layers=12, text_layers=1, num_frames=12
    )


def measure(corpus: Path, model, processor, args: argparse.Namespace) -> None:
    paths = list(find_videos(corpus))

    started = time.perf_counter()
    loader = FrameLoader(paths, processor.video_processor, workers=args.workers)
    decoded = [item.frames for item in loader if item.error is None]
    decode = time.perf_counter() - started

    started = time.perf_counter()
    for start in range(0, len(decoded), args.batch_size):
        inputs = processor(videos=decoded[start : start + args.batch_size], return_tensors="pt").to(model.device)
        with torch.inference_mode():
            model.get_video_features(inputs["pixel_values_videos"], inputs["frame_mask"])
    encode = time.perf_counter() - started

    with tempfile.TemporaryDirectory() as folder:
        index = VideoIndex.create(Path(folder, "index"), model, processor)
        report = index.add(corpus, workers=args.workers, batch_size=args.batch_size, progress=False)
    for name, seconds in (("decode alone", decode), ("encode alone", encode), ("index.add", report.seconds)):
        print(f"{name:14} {len(decoded) / seconds:8.1f} videos/s")
    print(f"{'share':14} {max(decode, encode) / report.seconds:8.2f} of the slower alone")
    print(f"{'':14} {(decode + encode) / report.seconds:8.2f} of one after the other")


if __name__ == "__main__":
    main()
