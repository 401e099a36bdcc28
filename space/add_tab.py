"""The tab where visitors add videos of their own."""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue

import gradio as gr

from dmae.modeling import VIDEO_SUFFIXES

from .markup import clock, message, text
from .services import Services
from .settings import Settings
from .texts import LANGUAGES, Texts, UserError, label, texts, texts_for


@dataclass
class File:
    """A file on its way: its name, how far it is (waiting, reading, ready, failed), what to say about it, and how much
    of a long one is read (0 to 1)."""

    name: str
    state: str = "waiting"
    note: str = ""
    share: float | None = None


def add_tab(page: gr.Blocks, services: Services, where: gr.Row) -> None:
    """Lays the tab out and wires it; `where` is shown to visitors who have videos of their own."""
    settings = services.settings
    if not settings.uploads_allowed:
        gr.Markdown(label("add_elsewhere" if settings.backend else "add_off"))
        return
    gr.Markdown(label("add_limits"))
    files = gr.File(
        label=label("drop_here"),
        file_count="multiple",
        file_types=sorted(VIDEO_SUFFIXES),
        height=160,
        elem_id="add-files",
    )
    report = gr.HTML(elem_id="added")
    forget = gr.Button(label("forget"), size="sm", visible=False, elem_id="forget")

    def take(paths: list[str] | None, request: gr.Request):
        say = texts_for(request)
        for listed in add_files(services, paths or [], request.session_hash, say):
            yield file_list(listed, say), gr.skip(), gr.skip(), gr.skip()
        some = gr.update(visible=services.shelves.of(request.session_hash) is not None)
        yield gr.skip(), None, some, some

    def remove(request: gr.Request):
        services.shelves.remove(request.session_hash)
        return none_yet(request), gr.update(visible=False), gr.update(visible=False)

    def leave(request: gr.Request):
        services.shelves.remove(request.session_hash)

    page.load(none_yet, None, report, api_visibility="private", show_progress="hidden")
    files.upload(take, files, [report, files, forget, where], api_visibility="private", show_progress="hidden")
    forget.click(remove, None, [report, forget, where], api_visibility="private")
    page.unload(leave)


def none_yet(request: gr.Request) -> str:
    say = texts_for(request)
    return message(say("none_yet"), say("none_yet_more"))


def limits_of(settings: Settings) -> dict[str, str]:
    """What a visitor may add, by language."""
    values = {"count": settings.max_uploads, "mb": settings.max_file_mb, "minutes": settings.session_minutes}
    length = clock(settings.max_seconds)
    return {language: texts(language)("add_limits", length=length, **values) for language in LANGUAGES}


def add_files(services: Services, paths: list[str], session: str | None, say: Texts) -> Iterator[list[File]]:
    """Adds files one by one; yields the state of all of them after every step."""
    files = [File(os.path.basename(path)) for path in paths]
    with ThreadPoolExecutor(1) as pool:
        for file, path in zip(files, paths):
            file.state = "reading"
            yield files
            adding, shares = _start(pool, services, session, path)
            for file.share in iter(shares.get, None):
                yield files
            try:
                _, duration = adding.result()
                file.state, file.note = "ready", clock(duration)
            except UserError as error:
                file.state, file.note = "failed", _without(file.name, error.told(say))
            yield files


def _start(pool: ThreadPoolExecutor, services: Services, session: str | None, path: str) -> tuple[Future, SimpleQueue]:
    """A file on its way, and the shares of it that are read, which end in None."""
    shares = SimpleQueue()
    adding = pool.submit(services.shelves.add, session, path, shares.put)
    adding.add_done_callback(lambda _: shares.put(None))
    return adding, shares


def _without(name: str, reason: str) -> str:
    """A reason without the name that it begins with, which stands before it anyway."""
    return reason.removeprefix(name).lstrip(":： ")


def file_list(files: list[File], say: Texts) -> str:
    """HTML of the files, each with its state."""
    items = "".join(
        f'<li class="{file.state}"><span class="state">{text(say(file.state))}</span>'
        f'<span class="what">{text(file.name + (file.note and f": {file.note}"))}{_bar(file, say)}</span></li>'
        for file in files
    )
    return f'<ul class="files" aria-live="polite">{items}</ul>'


def _bar(file: File, say: Texts) -> str:
    """How much of a long video is read; its number is not said aloud each time that it changes."""
    if file.share is None or file.state != "reading":
        return ""
    share = text(say("read_share", percent=int(100 * file.share)))
    bar = f'<progress value="{file.share:.3f}" aria-label="{text(file.name)}"></progress>'
    return f'<span class="share">{bar}<span aria-hidden="true">{share}</span></span>'
