"""`dmae synthetic DEST`: a synthetic corpus of mp4 files with captions and hard negatives."""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("destination", metavar="DEST", help="a new or empty folder")
    parser.add_argument("--train", type=int, default=3000, metavar="N", help="training videos (default: %(default)s)")
    parser.add_argument("--test", type=int, default=500, metavar="N", help="test videos (default: %(default)s)")
    parser.add_argument(
        "--phrases", type=int, default=0, metavar="N", help='short texts such as "a red star" per training video'
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="the same seed gives the same bytes (default: %(default)s)"
    )
    parser.add_argument("--size", type=int, default=64, help="side of the pictures in pixels (default: %(default)s)")
    parser.add_argument(
        "--group",
        type=int,
        default=1,
        metavar="N",
        help="near-duplicates: N videos that follow one another differ in one attribute (default: %(default)s, none)",
    )
    parser.add_argument(
        "--unseen-forms",
        type=int,
        default=0,
        metavar="N",
        help="N of the six forms of sentence are in test captions only (default: %(default)s)",
    )
    parser.add_argument("--films", type=int, metavar="N", help="write N long films with known spans instead")
    parser.add_argument("--scenes", type=int, default=120, help="scenes per film (default: %(default)s)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: all cores)")


def run(args: argparse.Namespace) -> int:
    from ..synthetic.films import write_films
    from ..synthetic.synthetic import write_corpus

    if args.films is not None:
        sizes = {"films": args.films, "scenes": args.scenes, "size": args.size}
        root = write_films(args.destination, **sizes, seed=args.seed)
        print(f"{root}: {args.films} films of {args.scenes} scenes")
        return 0
    root = write_corpus(
        args.destination,
        num_train=args.train,
        num_test=args.test,
        seed=args.seed,
        size=args.size,
        phrases_per_train_video=args.phrases,
        group=args.group,
        unseen_forms=args.unseen_forms,
        workers=args.workers,
    )
    print(f"{root}: {args.train} training and {args.test} test videos")
    return 0
