"""One Space and one browser for all tests of this folder; a page of its own for each test."""

from functools import partial
from pathlib import Path

import pytest
from space_server import ARTIFACTS, Space, launch_chromium, make_space_files, start_space


@pytest.fixture(scope="session")
def space_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("space")
    make_space_files(folder)
    return folder


@pytest.fixture(scope="session")
def space(space_files) -> Space:
    space, page = start_space(space_files, mcp=True, max_seconds=30, max_file_mb=5, max_uploads=3)
    yield space
    page.close()
    space.services.close()


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        yield browser
        browser.close()


# Gradio's own client logs this with every upload, whatever becomes of it.
GRADIO_NOISE = "Method not implemented."


CONTRAST = (Path(__file__).parent / "contrast.js").read_text()


class Visitor:
    """A page in a context of its own, and what went wrong in it."""

    def __init__(self, browser, space: Space, **context):
        options = {"viewport": {"width": 1280, "height": 860}, "reduced_motion": "reduce"} | context
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.url = space.url
        self.complaints: list[str] = []
        self.expected: list[str] = []  # parts of complaints that are no fault, whenever they come
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._check(request.url))

    def _hear(self, message) -> None:
        told = f"{message.text} ({message.location})"
        known = message.text == GRADIO_NOISE or any(part in told for part in self.expected)
        if message.type in ("error", "warning") and not known:
            self.complaints.append(told)

    def _check(self, url: str) -> None:
        if not url.startswith((self.url, "data:", "blob:")):
            self.complaints.append(f"request to {url}")

    def open(self, address: str = "") -> None:
        self.page.goto(self.url + address)
        self.page.wait_for_selector("#results .card, #results .message")

    def search(self, query: str) -> None:
        """Types another query, presses Enter and waits for the answer to replace what was shown."""
        self.page.evaluate("document.querySelectorAll('#results .card').forEach((card) => card.dataset.old = 1)")
        self.page.fill("#query textarea, #query input", query)
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector("#results .card:not([data-old]), #results .message")

    def limit(self, field: str, seconds: str, cards: int) -> None:
        """Types a length into a field and presses Enter, until so many cards are shown."""
        typed = self.page.locator(f"{field} input")

        def type_it():
            typed.fill(seconds)
            typed.press("Enter")

        count = "(count) => document.querySelectorAll('#results .card').length == count"
        self._insist(type_it, lambda timeout: self.page.wait_for_function(count, arg=cards, timeout=timeout))

    def tick(self, field: str, wanted: bool, ids: list[str]) -> None:
        """Ticks a box, or takes the tick away, until these results are shown."""
        box = self.page.locator(f"{field} input")

        def tick_it():
            if box.is_checked() == wanted:
                box.set_checked(not wanted)
            box.set_checked(wanted)

        self._insist(tick_it, lambda timeout: self.wait_for_cards(ids, timeout))

    def _insist(self, act, wait) -> None:
        """Acts until what is waited for comes, at most three times: Gradio may reset a field that has only just been
        unfolded, which a visitor sees and does again."""
        from playwright.sync_api import Error

        for timeout in (5_000, 5_000):
            try:
                act()
                return wait(timeout)
            except Error:
                continue
        act()
        wait(20_000)

    def cards(self) -> list[str]:
        return self.page.eval_on_selector_all("#results .card", "cards => cards.map((card) => card.dataset.id)")

    def wait_for_cards(self, ids: list[str], timeout: float = 20_000) -> None:
        """Waits until these results are shown, so many milliseconds at most."""
        self.page.wait_for_function(
            "(ids) => String([...document.querySelectorAll('#results .card')].map((card) => card.dataset.id)) == ids",
            arg=",".join(ids),
            timeout=timeout,
        )

    def pale_texts(self) -> list[str]:
        """Texts in view that stand out too little from what is behind them (WCAG AA: 4.5 to 1, large ones 3 to 1)."""
        return self.page.evaluate(CONTRAST)

    def wait_for_player(self, time: float | None = None) -> None:
        """Waits until the player shows a picture, at `time` (s) where one is given."""
        self.page.wait_for_function(
            """(time) => {
                const video = document.querySelector("#detail video");
                if (!(video?.readyState >= 2) || video.seeking) return false;
                return time === null || Math.abs(video.currentTime - time) < 0.15;
            }""",
            arg=time,
        )

    def keep(self, name: str) -> None:
        """A screenshot among the artefacts, once every picture in view has come."""
        self.page.wait_for_function(
            "[...document.images].filter((i) => i.getBoundingClientRect().top < innerHeight).every((i) => i.complete)"
        )
        ARTIFACTS.mkdir(exist_ok=True)
        self.page.screenshot(path=ARTIFACTS / f"{name}.png")


@pytest.fixture
def visit_space(browser):
    """Makes visitors of a Space; each must have seen no error, warning or request to elsewhere when the test ends."""
    visitors = []

    def visitor(space: Space, **context) -> Visitor:
        visitors.append(Visitor(browser, space, **context))
        return visitors[-1]

    yield visitor
    for visitor in visitors:
        visitor.context.close()
    assert [complaint for visitor in visitors for complaint in visitor.complaints] == []


@pytest.fixture
def visit(visit_space, space):
    """Makes visitors of the Space that all tests share."""
    return partial(visit_space, space)
