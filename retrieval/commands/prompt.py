"""`dmae search` without a query: model and index are loaded once, then every line that is typed is answered."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dmae.modeling.errors import DmaeError, InputError, one_line, printable

from ..cache import cache_folder
from ..index import VideoIndex
from ..search.explanation import Explanation
from ..search.query import EncodedQuery
from ..search.searcher import SearchHit
from ..times import clock
from .search import print_hits

PROMPT = "search> "
REMEMBERED_LINES = 1000
HELP = """\
  what a video should show, or the path of an image or a video: searches
  :more              the next results
  :explain N         how well each word matches the frames of result N
  :cut N [FOLDER]    writes the span of result N as a video file, into this folder by default
  :help              these lines
  :quit              ends, as Ctrl-D does; Ctrl-C cancels a line or a search"""


class Conversation:
    """One index, the query that was typed last, and what was shown for it.

    Args:
        parts, limits: further arguments of `VideoIndex.encode` and `VideoIndex.search`, the same for every query.
        k: results per answer. padding: seconds before and after each cut.
    """

    def __init__(self, index: VideoIndex, parts: dict, limits: dict, k: int = 10, padding: float = 0.0):
        self._index, self._parts, self._k, self._padding = index, parts, k, padding
        self._offset = limits["offset"]  # of the first result that is shown
        self._limits = {name: value for name, value in limits.items() if name != "offset"}
        self._next = self._offset  # of the first result that was not asked for yet, shown or left out
        self._typed = ""
        self._query: EncodedQuery | None = None
        self._shown: list[SearchHit] = []

    def answer(self, line: str) -> bool:
        """Prints what a line asks for; whether the conversation goes on.

        Raises:
            DmaeError: what was typed makes no sense. What was shown before stays.
        """
        name, _, rest = line.partition(" ")
        if not line.startswith(":"):
            self._search(line)
        elif name == ":more":
            self._more()
        elif name == ":explain":
            number = self._number(name, rest)
            print_explanation(self._typed, self._index.explain(self._query, self._shown[number].id))
        elif name == ":cut":
            self._cut(name, *rest.strip().partition(" ")[::2])
        elif name == ":help":
            print(HELP)
        elif name == ":quit":
            return False
        else:
            raise InputError(f"no command {name!r}: :help lists them")
        return True

    def _search(self, text: str) -> None:
        query = self._index.encode(text, **self._parts)
        hits = self._index.search(query, self._k, offset=self._offset, **self._limits)
        self._typed, self._query, self._shown, self._next = text, query, hits, self._offset + self._k
        print_hits(text, hits, self._offset, {}, only_sure=self._limits["min_confidence"] is not None)

    def _more(self) -> None:
        if self._query is None:
            raise InputError(":more shows further results of a query: type one first")
        hits = self._index.search(self._query, self._k, offset=self._next, **self._limits)
        self._next += self._k
        if not hits:
            print(f"no more results for {self._typed!r}")
            return
        number = self._offset + len(self._shown)
        self._shown += hits
        print_hits(self._typed, hits, number, {})

    def _cut(self, name: str, word: str, folder: str) -> None:
        from ..sharing.clips import cut_hits

        hit = self._shown[self._number(name, word)]
        (clip,) = cut_hits([hit], Path(folder.strip() or ".").expanduser(), padding=self._padding)
        print(printable(str(clip)))

    def _number(self, name: str, word: str) -> int:
        """The place in what is shown of the result that a person calls by its number."""
        if not self._shown:
            raise InputError(f"{name} takes the number of a result, and none is shown: type a query first")
        first, last = self._offset + 1, self._offset + len(self._shown)
        word = word.strip()
        if not (word.isdecimal() and first <= int(word) <= last):
            raise InputError(f"{name} takes the number of a result that is shown, {first} to {last}, not {word!r}")
        return int(word) - first


def converse(conversation: Conversation) -> int:
    """Answers line after line until there is no more; a line that cannot be answered costs one line."""
    print("type what a video should show, or :help")
    with _history():
        while True:
            try:
                line = input(PROMPT).strip()
                if line and not conversation.answer(line):
                    return 0
            except EOFError:
                print()
                return 0
            except KeyboardInterrupt:
                print()
            except UnicodeDecodeError:
                print(f"that line is no text in {sys.stdin.encoding}: type it again")
            except (DmaeError, OSError) as error:
                print(one_line(error))


@contextmanager
def _history() -> Iterator[None]:
    """Lines can be edited, and those of earlier conversations called back, where Python has readline."""
    try:
        import readline
    except ImportError:  # Windows, whose console does this by itself
        yield
        return
    file = cache_folder() / "history"
    with suppress(OSError):  # there is none yet
        readline.read_history_file(file)
    readline.set_history_length(REMEMBERED_LINES)
    try:
        yield
    finally:
        with suppress(OSError):  # a machine without a place to write forgets
            file.parent.mkdir(parents=True, exist_ok=True)
            readline.write_history_file(file)


def print_explanation(query: str, explanation: Explanation) -> None:
    """A table with a row per word and a column per frame, of their cosines; the best of each row stands out."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    hit = explanation.hit
    table = Table(title=Text(printable(f"{query}: {hit.path or hit.id}, score {explanation.score:.3f}")))
    table.add_column("")
    for number in range(len(explanation.sentence_similarity)):
        times = explanation.frame_times
        table.add_column(clock(times[number]) if number < len(times) else str(number + 1), justify="right")
    rows = zip(["the whole query", *explanation.words], [explanation.sentence_similarity, *explanation.similarity])
    for word, similarity in rows:
        best = similarity.argmax()
        cells = [Text(f"{value:.2f}", "bold reverse" if n == best else "") for n, value in enumerate(similarity)]
        table.add_row(Text(printable(word)), *cells)
    Console().print(table)
