"""Fine-tune a model on your own clips, measure it before and after, and keep it in a folder.

python examples/fine_tune.py ~/clips runs/mine

The folder has two folders of videos, `train/` and `test/`: what is measured must not have been trained on. Each has a
`captions.jsonl` with one line per video: {"video": "dog.mp4", "captions": ["a dog rides a skateboard"]}.
"""

import argparse

from dmae import load_pretrained
from dmae.training.config import TrainConfig
from dmae.training.corpora import load_samples
from dmae.training.evaluation.evaluation import evaluate_model
from dmae.training.loop import train


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Fine-tune a model on your own clips.")
    parser.add_argument("clips")
    parser.add_argument("output")
    parser.add_argument("--encoder", default="openai/clip-vit-base-patch32", help="a dual encoder to start from")
    parser.add_argument("--model", help="a DMAE model to go on from, instead")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32)
    args = parser.parse_args(argv)

    model, processor = load_pretrained(args.model or args.encoder)
    before = evaluate_model(model, processor, load_samples(args.clips, "test"), progress=False)

    config = TrainConfig(  # docs/configuration.md lists every key
        model=args.model,
        encoder=None if args.model else args.encoder,
        dataset=args.clips,
        output_dir=args.output,
        epochs=args.epochs,
        batch_size=args.batch_size,
        cache_frames="memory",
        num_workers=2,
    )
    after = train(config)["metrics"]

    print(f"{'':12}{'before':>8}{'after':>8}")
    for name in ("t2v_R@1", "t2v_R@5", "t2v_MdR"):
        print(f"{name:12}{before[name]:8.1f}{after[name]:8.1f}")
    print(f"the model is in {args.output}: dmae index {args.clips} --model {args.output} --index clips.index")


if __name__ == "__main__":
    main()
