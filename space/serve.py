"""`dmae serve`: the Space on this machine."""

import argparse
import gc
import inspect
import os
import secrets
import signal
import socket
from contextlib import contextmanager
from dataclasses import fields, replace

from dmae.modeling import InputError
from dmae.retrieval import check_confidence


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", help="folder or Hub id of a DMAE, CLIP, SigLIP, … model (default: $DMAE_MODEL, else the demo's)"
    )
    parser.add_argument(
        "--index", metavar="URI", help="folder, object store URI or Hub id of the index (default: $DMAE_INDEX)"
    )
    parser.add_argument(
        "--backend", metavar="URL", help="ask this search service on Ray, in place of a model and an index"
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16", "fp16"),
        help="of the model (default: bf16 on an accelerator that has it, else fp32)",
    )
    parser.add_argument("--videos", metavar="FOLDER", help="play only videos inside this folder, or below this URL")
    parser.add_argument("--watch", metavar="FOLDER", help="follow this folder of videos into the index")
    parser.add_argument("--host", default=None, help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=None, help="port to listen on (default: 7860)")
    parser.add_argument("--mcp", action="store_true", default=None, help="let agents call the search as tools (MCP)")
    parser.add_argument("--public", action="store_true", default=None, help="strangers visit: nobody adds videos")
    parser.add_argument(
        "--min-confidence", type=float, metavar="C", help="show only results at least this sure, from 0 to 1"
    )
    parser.add_argument("--title", help="title of the page")
    parser.add_argument("--about", help="a line under the title that says what the videos are")
    parser.add_argument("--examples", metavar="A|B|C", help="example queries, separated by |")


def run(args: argparse.Namespace) -> None:
    check_confidence("--min-confidence", args.min_confidence)
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    from .settings import Settings

    names = {field.name for field in fields(Settings)} & set(vars(args))
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
    os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000000")  # else a table of all calls, after each call
    if block:  # told to end in whatever way, it still deletes what visitors added
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = _with_token(settings, host)
    with _named(settings, host, port) as (settings, tell), quick_imports():
        tell(1, "step_libraries")
        from .mcp_server import ROUTE, prepare
        from .page import build_page, launch_options
        from .services import Services

        services = Services.open(settings, tell)
        tell(4, "step_page")
        page = build_page(services)
    _, url, _ = page.launch(server_name=host, server_port=port, prevent_thread_lock=True, **launch_options(services))
    if settings.mcp:
        prepare(page.mcp_server_obj)
    services.start()
    print(f"{len(services.library)} videos at {url}", flush=True)
    if settings.mcp:
        told = f" with the header Authorization: Bearer {settings.token}" if settings.token else ""
        print(f"agents (MCP) at {url.rstrip('/')}{ROUTE}/{told}", flush=True)
    if block:
        try:
            page.block_thread()
        finally:
            services.close()
    return page, services


def _with_token(settings, host: str | None):
    """The settings with what an agent has to send, where other machines can call and nothing was set."""
    if not settings.mcp:
        return settings
    from .mcp_server import check_mcp, is_loopback

    check_mcp()
    drawn = "" if is_loopback(_host(host)) else secrets.token_urlsafe(24)
    return replace(settings, token=settings.token or drawn)


def _host(host: str | None) -> str:
    return host or os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")


@contextmanager
def _named(settings, host: str | None, port: int | None):
    """The settings as they are, or with the demo's model and index where neither is named; and what tells visitors who
    come too early how far the loading is: `tell(number, step, line)`."""
    host = _host(host)
    chosen = port or int(os.environ.get("GRADIO_SERVER_PORT", 0))
    if chosen:
        _check_port(host, chosen)
    _check_backend(settings)
    if settings.backend or (settings.model and settings.index):
        with _loading_page(host, chosen or 7860) as tell:
            yield _introduced(settings), tell
        return
    if settings.model or settings.index:
        missing = "--index or DMAE_INDEX" if settings.model else "--model or DMAE_MODEL"
        raise InputError(f"a model and an index belong together: give {missing} too")
    if settings.watch:
        raise InputError("to follow a folder, give the model and the index that it goes into: --model and --index")
    from .first_start import demo

    with demo(host, chosen or 7860) as (model, index), _loading_page(host, chosen or 7860) as tell:
        yield _introduced(replace(settings, model=model, index=index)), tell


def _check_backend(settings) -> None:
    """Refuses what a page without a model and an index of its own cannot do."""
    for name in ("model", "index", "precision", "watch", "uploads"):
        if settings.backend and getattr(settings, name):
            raise InputError(
                f"a page that asks a search service (--backend) has no model and no index: leave out --{name} or "
                f"DMAE_{name.upper()}"
            )


def _introduced(settings):
    """The settings with examples that fit the demo's videos, where these are served and no others are given."""
    from .first_start import EXAMPLES, is_drawn

    return replace(settings, examples=settings.examples or EXAMPLES) if is_drawn(settings.index) else settings


@contextmanager
def _loading_page(host: str, port: int):
    """The page of the loading, where nothing else answers at the port yet."""
    from .progress_page import ProgressPage

    try:
        page = ProgressPage(host, port, "why_loading", total=4)
    except OSError:
        yield lambda number, step, line="": None
        return
    with page:
        yield page.tell


def _check_port(host: str, port: int) -> None:
    """Refuses a port that is taken now rather than after the model was loaded."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            told = f"{host} port {port} cannot be used ({error.strerror}): give another with --port"
            raise OSError(f"{told} or GRADIO_SERVER_PORT") from None


@contextmanager
def quick_imports():
    """Keeps the garbage collector and Gradio's type stubs out of the start.

    The libraries make a million objects that stay. To go through them again and again takes as long as the imports
    themselves, and would later hold up searches: they are put out of the collector's reach. And Gradio parses the
    source of each of its components to renew a stub beside it, a second in all, unless there is no source to be had.
    """
    getfile = inspect.getfile

    def no_components(thing):
        if isinstance(thing, type) and thing.__module__.startswith("gradio."):
            raise OSError("no type stubs are wanted")
        return getfile(thing)

    gc.disable()
    inspect.getfile = no_components
    try:
        yield
    finally:
        inspect.getfile = getfile
        gc.freeze()
        gc.enable()
