"""`dmae serve`: the Space on this machine."""

import argparse
import os
from dataclasses import replace
from types import SimpleNamespace

HELP = "serve the search page on this machine"
EXAMPLE = "dmae serve --model openai/clip-vit-base-patch32 --index clips.index"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", help="folder or Hub id of a DMAE or CLIP model (default: $DMAE_MODEL, else the demo's)"
    )
    parser.add_argument(
        "--index", metavar="URI", help="folder, object store URI or Hub id of the index (default: $DMAE_INDEX)"
    )
    parser.add_argument("--videos", metavar="FOLDER", help="play only videos inside this folder")
    parser.add_argument("--host", default=None, help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=None, help="port to listen on (default: 7860)")
    parser.add_argument("--public", action="store_true", default=None, help="strangers visit: nobody adds videos")
    parser.add_argument("--title", help="title of the page")
    parser.add_argument("--examples", metavar="A|B|C", help="example queries, separated by |")


def run(args: argparse.Namespace) -> None:
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    from .settings import Settings

    names = ("model", "index", "videos", "public", "title", "examples")
    settings = Settings.from_environment(**{name: getattr(args, name) for name in names})
    serve(settings, args.host, args.port)


def serve(settings, host: str | None = None, port: int | None = None, *, block: bool = True):
    """Opens the model and the index and serves the page.

    Args:
        host, port: as for `Blocks.launch`: by default what Gradio's own variables say, else 127.0.0.1 and 7860.
        block: stay until interrupted.

    Returns:
        the running `gr.Blocks` and its `Services`.
    """
    from .page import build_page, launch_options
    from .services import Services

    services = Services.open(_with_demo(settings, host, port))
    page = build_page(services)
    _, url, _ = page.launch(server_name=host, server_port=port, prevent_thread_lock=True, **launch_options(services))
    services.warm_up()
    services.shelves.sweep_forever()
    print(f"{len(services.library.index)} videos at {url}", flush=True)
    if block:
        try:
            page.block_thread()
        finally:
            services.close()
    return page, services


def _with_demo(settings, host: str | None, port: int | None):
    """The settings as they are, or with the demo's model and index where neither is named."""
    if settings.model and settings.index:
        return settings
    if settings.model or settings.index:
        missing = "--index or DMAE_INDEX" if settings.model else "--model or DMAE_MODEL"
        raise ValueError(f"a model and an index belong together: give {missing} too")
    from .first_start import EXAMPLES, demo_paths, make_demo

    host = host or os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
    port = port or int(os.environ.get("GRADIO_SERVER_PORT", 7860))
    model, index = demo_paths() or make_demo(host=host, port=port)
    return replace(settings, model=model, index=index, examples=settings.examples or EXAMPLES)


command = SimpleNamespace(help=HELP, example=EXAMPLE, configure=configure, run=run)
