"""A small HTTP server that answers what a test tells it to."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

HIT = {"id": "a.mp4", "score": 0.5, "start": 0.0, "end": 2.0, "best_time": 1.0, "duration": 2.0, "scope": "index"}
HIT |= {"confidence": 0.9, "moments": [], "frame_times": [1.0], "frame_scores": [0.5], "metadata": {}}
HIT |= {"title": "a", "video": "media/index/YQ/video", "thumbnail": "media/index/YQ/1000.jpg"}


@contextmanager
def stand_in(routes: dict):
    """Serves `routes`: a path to a body (bytes, or JSON values) or a pair of a status and a body; yields the address
    and the list of requests so far, each with its method, path and body. Any other path is not found.
    """
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append((self.command, self.path, body))
            found = routes.get(urlsplit(self.path).path, (404, {"detail": "Not Found"}))
            status, said = found if isinstance(found, tuple) else (200, found)
            said = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST = answer

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def gradio_routes(event: str, data) -> dict:
    """What a page of Gradio's answers when its search ends with an event."""
    stream = f"event: heartbeat\ndata: null\n\nevent: {event}\ndata: {json.dumps(data)}\n\n"
    return {
        "/gradio_api/app_id": {"app_id": 1},
        "/gradio_api/call/search": {"event_id": "e"},
        "/gradio_api/call/search/e": stream.encode(),
    }
