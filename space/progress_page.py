"""What a visitor sees while the Space is not there yet. It takes no library that is slow to import."""

import html
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .languages import Texts, texts_wanted

REFRESH_SECONDS = 2
HEADER = "X-Progress"  # by which the page tells itself from the one that follows
_HTML = """<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width">
<noscript><meta http-equiv="refresh" content="{seconds}"></noscript>
<title>{ready}</title>
<style>
:root {{ color-scheme: light dark; accent-color: #2563eb }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 15vh auto; padding: 0 1rem }}
progress {{ width: 100%; height: 1rem }}
code {{ display: block; min-height: 3em; font-size: .8rem; overflow-wrap: anywhere; opacity: .75 }}
</style>
</head>
<body>
<h1>{ready}</h1>
<p>{why}</p>
<main>
<p role="status"><strong>{step}</strong> {number_of}</p>
<progress max="{total}" value="{done:.2f}" aria-label="{progress}"></progress>
<p><code>{line}</code></p>
</main>
<script>
// Stays while nobody listens, between this page and the one that follows, and gives way as soon as that answers.
setInterval(async () => {{
  try {{
    const answer = await fetch(location.href, {{ cache: "no-store" }});
    if (!answer.ok) return;
    if (!answer.headers.has("{header}")) return location.reload();
    const now = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.querySelector("main").replaceWith(now.querySelector("main"));
  }} catch {{}}
}}, 1000 * {seconds});
</script>
</body>
</html>
"""


class ProgressPage:
    """A page at the port of the Space that says what is being made or loaded, until the Space itself answers there, in
    the language of each browser.

    Args:
        why: what is waited for, as the key of a text. total: of how many steps.
    """

    def __init__(self, host: str, port: int, why: str, total: int):
        self._why, self._total = why, total
        self._now = (0, "starting", "")
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                body = page.html(texts_wanted(self.headers.get("Accept-Language", ""))).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.send_header(HEADER, "1")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer((host, port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> "ProgressPage":
        return self

    def __exit__(self, *error) -> None:
        self._server.shutdown()
        self._server.server_close()

    def tell(self, number: int, step: str, line: str = "") -> None:
        """What is under way: the number and the text's key of the step, and the last line that it printed; where that
        holds a percentage, it is that of the step.
        """
        self._now = (number, step, line)

    def html(self, say: Texts) -> str:
        number, step, line = self._now
        percent = re.search(r"(\d{1,3})%", line)
        return _HTML.format(
            seconds=REFRESH_SECONDS,
            header=HEADER,
            language=say.language,
            ready=html.escape(say("getting_ready")),
            progress=html.escape(say("progress")),
            step=html.escape(say(step)),
            number_of=html.escape(say("step_of", number=number, total=self._total)),
            total=self._total,
            why=html.escape(say(self._why)),
            done=max(number - 1, 0) + (int(percent[1]) / 100 if percent else 0),
            line=html.escape(line[-200:]),
        )
