"""The tab where visitors add videos of their own."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import gradio as gr

from dmae.modeling import VIDEO_SUFFIXES

from .library import UserError
from .markup import clock, message, text
from .services import Services

EMPTY = message("No videos of yours yet", "Choose some above; they are searchable as soon as they are read.")
SWITCHED_OFF = (
    "Adding videos is switched off on this public page. Duplicate the Space, or run `dmae serve`, to search your own."
)


@dataclass
class File:
    """A file on its way: its name, how far it is (`STATES`), and what there is to say about it."""

    name: str
    state: str = "waiting"
    note: str = ""


STATES = {"waiting": "Waiting", "reading": "Reading…", "ready": "Searchable", "failed": "Not added"}


def add_tab(page: gr.Blocks, services: Services) -> None:
    """Lays the tab out and wires it."""
    settings = services.settings
    if not settings.uploads_allowed:
        gr.Markdown(SWITCHED_OFF)
        return
    gr.Markdown(
        f"Up to {settings.max_uploads} videos of at most {settings.max_file_mb} MB and {clock(settings.max_seconds)} "
        f"each. Only you can find and see them. They are deleted when you leave the page, "
        f"and after {settings.session_minutes} idle minutes at the latest."
    )
    files = gr.File(
        label="Drop videos here, or choose them",
        file_count="multiple",
        file_types=sorted(VIDEO_SUFFIXES),
        height=160,
        elem_id="add-files",
    )
    report = gr.HTML(EMPTY, elem_id="added")
    forget = gr.Button("Delete my videos", size="sm", visible=False, elem_id="forget")

    def take(paths: list[str] | None, request: gr.Request):
        for listed in add_files(services, paths or [], request.session_hash):
            yield file_list(listed), gr.skip(), gr.skip()
        yield gr.skip(), None, gr.update(visible=services.shelves.of(request.session_hash) is not None)

    def remove(request: gr.Request):
        services.shelves.remove(request.session_hash)
        return EMPTY, gr.update(visible=False)

    def leave(request: gr.Request):
        services.shelves.remove(request.session_hash)

    files.upload(take, files, [report, files, forget], api_visibility="private", show_progress="hidden")
    forget.click(remove, None, [report, forget], api_visibility="private")
    page.unload(leave)


def add_files(services: Services, paths: list[str], session: str | None) -> Iterator[list[File]]:
    """Adds files one by one; yields the state of all of them after every step."""
    files = [File(os.path.basename(path)) for path in paths]
    for file, path in zip(files, paths):
        file.state = "reading"
        yield files
        try:
            _, duration = services.shelves.add(session, path)
            file.state, file.note = "ready", clock(duration)
        except UserError as error:
            file.state, file.note = "failed", str(error).removeprefix(f"{file.name}: ")
        yield files


def file_list(files: list[File]) -> str:
    """HTML of the files, each with its state."""
    items = "".join(
        f'<li class="{file.state}"><span class="state">{STATES[file.state]}</span>'
        f'<span class="what">{text(file.name)}{": " if file.note else ""}{text(file.note)}</span></li>'
        for file in files
    )
    return f'<ul class="files" aria-live="polite">{items}</ul>'
