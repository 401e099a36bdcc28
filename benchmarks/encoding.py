"""How fast the two encoders run, beside the bare matrix product of the same machine in the same run.

    python benchmarks/encoding.py                  # ViT-B/32, 12 frames, 32 words, random weights, pixels ready

Videos and texts per second, and the share of the bare product's rate that the towers' matrix operations reach.
"""

import argparse

import torch
from training_step import make_inputs, make_model, matrix_rate, seconds, tower_operations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8, help="videos at once; texts: 16 times as many")
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--words", type=int, default=32)
    parser.add_argument("--patch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = make_model(options).to(device, dtype).eval()
    videos = make_inputs(options, options.batch, device)["pixel_values_videos"].to(dtype)
    texts = make_inputs(argparse.Namespace(**{**vars(options), "frames": 1}), 16 * options.batch, device)
    rate = matrix_rate(device, dtype)
    per_video, per_text = tower_operations(options)
    print(f"ViT-B/{options.patch}, {options.frames} frames, {options.words} words, {device.type}, {dtype}")
    print(f"{'bare matrix product':20}{rate / 1e12:10.3f} TFLOP/s")
    with torch.inference_mode():
        for name, count, operations, call in (
            ("videos", options.batch, per_video, lambda: model.get_video_features(videos)),
            (
                "texts",
                16 * options.batch,
                per_text,
                lambda: model.get_text_features(texts["input_ids"], texts["attention_mask"]),
            ),
        ):
            took = seconds(call, options.repeats, device)
            share = count * operations / took / rate
            print(f"{name:20}{count / took:10.1f} a second {share:8.0%} of the bare product's rate")


if __name__ == "__main__":
    main()
