import io
import logging
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from behavior_tasks.model import live
from behavior_tasks.model.live import in_words, live_figures, reporting, showing
from behavior_tasks.model.work_folder import Epoch, Heartbeat, WorkFolder

BEAT = Heartbeat(
    pid=1,
    epoch=3,
    step=50,
    total_steps=90,
    loss=0.512,
    examples_per_second=812.4,
    tokens_per_second=45_123,
    seconds_left=125,
    validation_average_precision=0.301,
    best_average_precision=0.322,
    micro_batch_tokens=8192,
)
EPOCH = {
    "train_loss": 0.9,
    "purchase_loss": 0.6,
    "next_token_loss": 1.5,
    "amount_loss": 1.1,
    "validation_loss": 0.65,
    "validation_average_precision": 0.3,
    "examples_per_second": 800.0,
    "tokens_per_second": 45_000.0,
    "micro_batch_tokens": 16_384,
    "seconds": 4.0,
}


@pytest.fixture
def work(tmp_path: Path) -> WorkFolder:
    return WorkFolder(tmp_path)


def test_a_line_says_loss_ap_rates_and_time_left() -> None:
    assert in_words(BEAT) == (
        "train: step 50 of 90, epoch 3, loss 0.512, validation AP 0.301 (best 0.322), "
        "812 examples/s, 45,123 tokens/s, 2:05 left"
    )
    validating = BEAT.model_copy(update={"doing": "validate", "best_average_precision": 0.301})
    assert "validating, epoch 3, loss 0.512, validation AP 0.301, 812" in in_words(validating)


def test_without_a_terminal_there_is_a_line_every_ten_seconds(
    work: WorkFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1000.0
    monkeypatch.setattr(live.time, "monotonic", lambda: now)
    caplog.set_level(logging.INFO, logger="behavior")
    with showing(work, Console(file=io.StringIO())) as show:
        for second in range(0, 35, 5):
            now = 1000.0 + second
            if second == 15:
                work.beat(BEAT)
            show(17.0 if second == 30 else 1.0)
    assert caplog.messages == [
        "train: starting since 10 s",
        in_words(BEAT),
        in_words(BEAT) + ", silent for 17 s",
    ]


def test_what_the_process_says_is_passed_on_once_and_what_its_libraries_write_is_not(
    work: WorkFolder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="behavior")
    with showing(work, Console(file=io.StringIO())) as show, work.log.open("w") as stream:
        show(0.0)
        print(
            "W1125 some library\nWARNING:behavior:The amount head is off.\nWARNING:torch:no\nINFO:beh",
            file=stream,
            end="",
        )
        stream.flush()
        show(0.0)
        print("avior:Out of memory.", file=stream, flush=True)
        show(0.0)
        print("ERROR:behavior:the last word", file=stream)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "train: The amount head is off."),
        ("INFO", "train: Out of memory."),
        ("ERROR", "train: the last word"),
    ]


def test_on_a_terminal_a_bar_shows_the_same_within_its_width(work: WorkFolder) -> None:
    screen = io.StringIO()
    work.beat(BEAT)
    with showing(work, Console(file=screen, force_terminal=True, width=80, color_system=None)) as show:
        show(0.0)
    drawn = screen.getvalue()
    for words in ("epoch 3", "loss 0.512", "AP 0.301", "812 ex/s", "45.1k tok/s", "2:05 left", "━"):
        assert words in drawn


def test_figures_are_reported_while_it_runs_and_once_more_at_the_end(
    work: WorkFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LOG_EVERY_SECONDS", 0.02)
    reported: list[tuple[dict[str, float], int]] = []
    came = threading.Event()

    def report(figures: dict[str, float], step: int) -> None:
        reported.append((figures, step))
        came.set()

    with reporting(work, report):
        work.beat(BEAT)
        assert came.wait(10)
        work.write_metrics([Epoch(epoch=2, step=60, **EPOCH)])
    assert reported[0] == (live_figures(BEAT), 50)
    assert reported[-2:] == [(EPOCH, 2), (live_figures(BEAT), 50)]
    assert live_figures(BEAT) == {
        "live/epoch": 3,
        "live/loss": 0.512,
        "live/examples_per_second": 812.4,
        "live/tokens_per_second": 45_123,
        "live/seconds_left": 125,
        "live/validation_average_precision": 0.301,
        "live/best_average_precision": 0.322,
        "live/micro_batch_tokens": 8192,
    }


def test_what_is_unknown_or_no_number_is_not_reported() -> None:
    first = BEAT.model_copy(update={"validation_average_precision": None, "loss": float("nan")})
    assert not {"live/validation_average_precision", "live/loss"} & live_figures(first).keys()


def test_a_receiver_that_hangs_holds_nobody_up(work: WorkFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LAST_REPORT_SECONDS", 0.05)
    release = threading.Event()
    work.beat(BEAT)
    started = time.monotonic()
    with reporting(work, lambda _figures, _step: release.wait(30) and None):
        pass
    waited = time.monotonic() - started
    release.set()
    assert waited < 10
