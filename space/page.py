"""The whole page: heading and tabs."""

from pathlib import Path

import gradio as gr
from gradio import themes  # pyright: ignore[reportPrivateImportUsage]
from gradio.utils import get_upload_folder
from starlette.middleware import Middleware

from .add_tab import add_tab, limits_of
from .api import api_tab
from .first_start import is_drawn
from .guards import Page, RequestGuard, UploadGuard
from .markup import text
from .mcp_server import McpGuard
from .method_tab import documents, method_tab
from .search_tab import search_tab
from .services import Services
from .texts import label, texts_for, translations

HERE = Path(__file__).parent
THEME = themes.Default(
    primary_hue="blue",
    neutral_hue="slate",
    font=["ui-sans-serif", "system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
).set(  # Gradio's own shades are too pale to read on white: 4.5 to 1 is what text needs
    body_text_color_subdued="*neutral_500",
    input_placeholder_color="*neutral_500",
    input_placeholder_color_dark="*neutral_400",
    color_accent="*primary_600",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_700",
)
TEMPORARY_SECONDS = 600  # how long a file that was sent and not taken stays


def build_page(services: Services) -> gr.Blocks:
    """The Blocks of the page, wired and with its queue, not yet launched."""
    settings = services.settings
    with Page(
        title=settings.title, analytics_enabled=False, delete_cache=(60, TEMPORARY_SECONDS), fill_width=True
    ) as page:
        heading = gr.HTML(elem_id="heading")
        page.load(_heading(services), None, heading, api_visibility="private", show_progress="hidden")
        with gr.Tabs():
            with gr.Tab(label("tab_search"), id="search"):
                where = search_tab(page, services, examples_of(settings))
            with gr.Tab(label("tab_add"), id="add"):
                add_tab(page, services, where)
            with gr.Tab(label("tab_how"), id="how") as tab:
                method_tab(tab, services, examples_of(settings))
            with gr.Tab(label("tab_api"), id="api"):
                api_tab(page, services)
    page.queue(default_concurrency_limit=settings.concurrency, max_size=settings.queue_size)
    return page


def launch_options(services: Services) -> dict:
    """What `Blocks.launch` needs to serve the page: routes, looks and limits."""
    settings = services.settings
    guards = [
        Middleware(RequestGuard),
        Middleware(UploadGuard, folder=get_upload_folder(), limit=settings.max_disk_mb * 1_000_000),
        Middleware(McpGuard, token=settings.token),
    ]
    return {
        "app_kwargs": {"routes": services.media.routes(), "middleware": guards},
        "mcp_server": settings.mcp,
        "i18n": translations(add_limits=limits_of(settings), **documents()),
        "theme": THEME,
        "css": (HERE / "style.css").read_text(encoding="utf-8"),
        "head": f"<script>{(HERE / 'page.js').read_text(encoding='utf-8')}</script>",
        "max_file_size": settings.max_file_mb * 1_000_000,
        "footer_links": [],
        "ssr_mode": False,
        "show_error": False,
        "quiet": True,
    }


def examples_of(settings) -> list[str]:
    return [example.strip() for example in settings.examples.split("|") if example.strip()]


def _heading(services: Services):
    """What makes the heading for a visitor: the index may grow, and languages differ."""
    model = services.library.model_name or ""
    made_with = f" ({text(model)})" if "/" in model else ""  # a Hub id; the name of a folder tells a visitor nothing
    title, drawn = text(services.settings.title), is_drawn(services.settings.index)

    def heading(request: gr.Request) -> str:
        say = texts_for(request)
        videos = say.count("videos", len(services.library))
        about = services.settings.about or (say("drawn") if drawn else "")
        lines = "".join(
            f"<p>{line}</p>" for line in (say("heading", videos=videos, model=made_with), text(about)) if line
        )
        return f"<h1>{title}</h1>{lines}"

    return heading
