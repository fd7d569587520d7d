"""A real web server that takes messages, after it has stumbled as often as a test wants."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def hook(failures: int) -> Iterator[tuple[str, list[dict[str, Any]], list[int]]]:
    """A web server that answers 503 so many times before it takes what comes; its address, and what it has taken."""
    taken: list[dict[str, Any]] = []
    answered: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answered.append(503 if len(answered) < failures else 200)
            if answered[-1] == 200:
                taken.append(json.loads(body))
            self.send_response(answered[-1])
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook/a-secret", taken, answered
        server.shutdown()
