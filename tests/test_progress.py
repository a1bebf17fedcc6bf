from __future__ import annotations

import logging

import pytest

from coronet import progress


@pytest.fixture
def minutes(monkeypatch, caplog):
    """Let a minute pass before each sign of life; gives the lines logged so far."""
    caplog.set_level(logging.INFO, logger="coronet")
    clock = iter(range(0, 10_000, 60))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    return lambda: [record.getMessage() for record in caplog.records]


def test_without_a_terminal_there_is_a_line_a_minute(minutes, capsys):
    with progress.Progress("heart epochs", 20) as bar:
        bar.advance(0.5)
        bar.update(1, note="loss 0.5 dice 0.7")
    assert minutes() == ["heart epochs: 0 of 20", "heart epochs: 1 of 20, loss 0.5 dice 0.7"]
    assert capsys.readouterr() == ("", "")


def test_bytes_are_printed_in_gigabytes(minutes):
    with progress.Progress("download", 2e9, in_bytes=True) as bar:
        bar.advance(500_000_000)
    assert minutes() == ["download: 0.50 of 2.00 GB"]


def test_short_work_is_silent(caplog, capsys):
    caplog.set_level(logging.INFO, logger="coronet")
    with progress.Progress("score") as bar, progress.waiting("reading"):
        bar.update(1, 3)
    assert not caplog.records and capsys.readouterr() == ("", "")
