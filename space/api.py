"""The named endpoints that programs call through `gradio_client`, and the tab that documents them."""

import gradio as gr

from dmae.modeling import VideoDecodeError

from .library import INDEX, Where, clip_url
from .services import Services
from .texts import UserError, texts_for

ADDRESS = "ADDRESS OF THIS PAGE"
# The browser knows the address: behind a proxy the server does not.
TELL_ADDRESS = "() => window.location.origin + window.location.pathname"


def api_tab(page: gr.Blocks, services: Services) -> None:
    """Documents the endpoints and makes them."""
    usage = gr.Markdown(elem_id="usage")
    with gr.Group(visible=False):
        address = gr.Textbox(label="address")
        query, video_id, scope = (
            gr.Textbox(label="query"),
            gr.Textbox(label="video_id"),
            gr.Textbox(INDEX, label="scope"),
        )
        k = gr.Number(10, label="k", precision=0)
        shortest, longest = gr.Number(0, label="shortest"), gr.Number(0, label="longest")
        min_confidence, distinct = gr.Number(0, label="min_confidence"), gr.Checkbox(False, label="distinct")
        start, end = gr.Number(label="start"), gr.Number(label="end")
        answer, button = gr.JSON(label="answer"), gr.Button()
        file = gr.File(label="file")
    page.load(_usage, address, usage, js=TELL_ADDRESS, api_visibility="private", show_progress="hidden")
    endpoints = Endpoints(services)
    limits = [shortest, longest, min_confidence, distinct]
    button.click(endpoints.search, [query, k, *limits], answer, api_name="search")
    button.click(endpoints.explain, [query, video_id, scope], answer, api_name="explain")
    button.click(endpoints.cut, [video_id, start, end, scope], answer, api_name="cut")
    if services.settings.uploads_allowed:
        button.click(endpoints.add, file, answer, api_name="add")


def _usage(address: str, request: gr.Request) -> str:
    return texts_for(request).document("usage").replace(ADDRESS, address)


class Endpoints:
    """What programs may ask; every refusal is one plain sentence."""

    def __init__(self, services: Services):
        self._services = services

    def search(
        self,
        query: str,
        k: float,
        shortest: float,
        longest: float,
        min_confidence: float,
        distinct: bool,
        request: gr.Request,
    ) -> list[dict]:
        """Finds the videos that show what a text describes, and the moment of each that fits best.

        Videos are found by what is to be seen in them, not by their titles. Describe the picture: things, people,
        what they do, colours, places.

        Args:
            query: what is to be seen, in plain words, such as "a dog on a skateboard"; a path is read as words, too
            k: how many results are wanted, from 1 to 100
            shortest: leave out videos of fewer seconds; 0 for no limit
            longest: leave out videos of more seconds; 0 for no limit
            min_confidence: leave out results that are less sure, from 0 (leave out none) to 1; 0.5 is a fair demand
            distinct: leave out near-identical copies of better results

        Returns:
            a list, best first, empty where nothing here is that sure; each with id and scope (for explain and cut)
            title, confidence (0 to 1; of any query the same) and score (of this query alone)
            start and end of the span that fits, best_time and duration, in seconds
            video and thumbnail as addresses
            partial where a part of the index did not answer, so that better ones may be missing
        """
        library = self._services.library
        shelf = self._services.shelves.of(request.session_hash)
        where = Where((shortest, longest), distinct=distinct, min_confidence=min_confidence)
        with _PlainErrors():
            found = library.search(library.ask(query), int(k), shelf=shelf, where=where)
        told = {"partial": True} if found.silent else {}
        return [result.to_dict() | {"scope": result.scope} | told for result in found.results]

    def explain(self, query: str, video_id: str, scope: str, request: gr.Request) -> dict:
        """Tells why a video fits a text: how alike each word and each moment of the video are.

        Args:
            query: the text that was searched for
            video_id: the id of a result of search
            scope: the scope of that result

        Returns:
            words and their weights, frame_times in seconds
            similarity (a row per word, a column per frame), sentence (the whole text against each frame)
            score
        """
        library = self._services.library
        shelf = self._services.shelves.of(request.session_hash)
        with _PlainErrors():
            _, explanation = library.explain(library.ask(query), scope, video_id, shelf)
        return explanation.to_dict()

    def cut(self, video_id: str, start: float, end: float, scope: str) -> dict:
        """Cuts a span out of a video into a file of its own, with its sound.

        Args:
            video_id: the id of a result of search
            start: the second at which the clip begins, such as the start of that result
            end: the second at which it ends, such as the end of that result; 60 seconds at most after start
            scope: the scope of that result

        Returns:
            clip as an address
            start and end in seconds
        """
        with _PlainErrors():
            try:
                self._services.media.cut(scope, video_id, float(start or 0), float(end or 0))
            except VideoDecodeError as error:
                raise UserError("not_cut", reason=error.reason) from None
        return {"clip": clip_url(scope, video_id, start or 0, end), "start": start or 0, "end": end}

    def add(self, file: str | None, request: gr.Request) -> dict:
        """Makes a video searchable for this client alone."""
        with _PlainErrors():
            if not file:
                raise UserError("send_file")
            title, duration = self._services.shelves.add(request.session_hash, file)
        return {"title": title, "duration": round(duration, 3)}


class _PlainErrors:
    """Tells the caller what they can put right; anything else stays in the server's log."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, UserError):
            raise gr.Error(str(error), print_exception=False) from None
