"""`dmae push MODEL REPO`: a trained model out to the Hub."""

import argparse
import json


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="folder of a trained model")
    parser.add_argument("repo", metavar="REPO", help="owner/name on the Hub; made where it does not exist")
    parser.add_argument("--private", action="store_true", help="only the owner sees it")
    parser.add_argument("--message", default="Upload a DMAE model", help="of the commit (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help='print {"url", "commit", "changed"}')


def run(args: argparse.Namespace) -> int:
    from ..release.push import push_model

    published = push_model(args.model, args.repo, private=args.private, message=args.message)
    if args.json:
        print(json.dumps(published._asdict()))
    else:
        print(published.url if published.changed else f"{published.url} (already up to date)")
    return 0
