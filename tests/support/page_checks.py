"""What tests ask of a page for those who use keys alone or a screen reader."""

SERIOUS = ("serious", "critical")
MOST_STEPS = 60  # of the Tab key to whatever is on the page


def findings(page) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{v['id']}: {v['help']} {v['nodes'][0]['html'][:200]}" for v in found if v["impact"] in SERIOUS]


def step_to(page, selector: str) -> None:
    """Presses Tab until the element has the focus, as somebody without a mouse does."""
    for _ in range(MOST_STEPS):
        page.keyboard.press("Tab")
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{selector} cannot be reached with the keyboard")
