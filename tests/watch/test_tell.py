"""Messages go out over a real web server and a real mail server, wait for one that stumbles, and never raise."""

import logging
import socketserver
import threading

import pytest

from behavior_tasks.watch.tell import EMAIL, MAIL_SERVER, WAITS_SECONDS, WEBHOOK, tell
from tests.hook import hook
from tests.up import free_port

FACTS = {"dag": "behavior_training", "stage": "clean", "why": "the log is empty"}


def test_an_endpoint_that_fails_twice_gets_the_message_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    waited: list[float] = []
    with hook(failures=2) as (address, taken, answered):
        went = tell("one line", "two\nlines", FACTS, settings={WEBHOOK: address}, sleep=waited.append)
    assert went == ["webhook"]
    assert answered == [503, 503, 200]
    assert taken == [{**FACTS, "text": "two\nlines"}]
    assert waited == [*WAITS_SECONDS[:2]]
    assert waited == sorted(set(waited)), "each wait is longer than the one before"
    assert "it answered 503" in caplog.text
    assert "a-secret" not in caplog.text


@pytest.mark.parametrize("address", ["http://127.0.0.1:{free_port}/a-secret", "file:///etc/passwd", "nonsense"])
def test_an_endpoint_that_is_down_or_wrong_costs_nothing_but_a_line_in_the_log(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    waited: list[float] = []
    address = address.format(free_port=free_port())
    assert tell("one line", "the whole message", FACTS, settings={WEBHOOK: address}, sleep=waited.append) == []
    assert waited == [*WAITS_SECONDS]
    assert "the whole message" in caplog.text
    assert "did not go out by webhook" in caplog.text
    assert "a-secret" not in caplog.text


def test_without_an_address_it_is_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    assert tell("one line", "the whole message", FACTS, settings={}) == []
    assert [record.message for record in caplog.records] == ["the whole message"]


class Mail(socketserver.StreamRequestHandler):
    """As much of a mail server as takes one message."""

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline().decode().strip():
            if line.upper() == "DATA":
                self.wfile.write(b"354 go on\r\n")
                while (part := self.rfile.readline()) != b".\r\n":
                    self.server.taken.append(part.decode().rstrip())  # type: ignore[attr-defined]
            self.wfile.write(b"221 bye\r\n" if line.upper() == "QUIT" else b"250 good\r\n")
            if line.upper() == "QUIT":
                return


def test_a_message_by_mail() -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail) as server:
        server.taken = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings = {
            EMAIL: "ada@shop.example, ben@shop.example",
            MAIL_SERVER: f"smtp://127.0.0.1:{server.server_address[1]}",
        }
        went = tell("it failed in clean", "the whole message", FACTS, settings=settings)
        server.shutdown()
        taken: list[str] = server.taken  # type: ignore[attr-defined]
    assert went == ["e-mail"]
    assert "Subject: it failed in clean" in taken
    assert "To: ada@shop.example, ben@shop.example" in taken
    assert "the whole message" in taken
