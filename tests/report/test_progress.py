"""Progress: seen on a terminal after a second, silent everywhere else."""

import io

import pytest
from rich.console import Console

from floatline.progress import silent
from floatline.report.progress import Ticker, shown_on


def test_the_line_counts_when_there_is_something_to_count() -> None:
    ticker = Ticker(clock=iter([0.0, 5.0, 6.0, 7.0]).__next__)
    ticker("watching", 7)
    assert ticker.text() == "watching: 7 (5 s)"
    ticker("tracing", 1, 2000)
    assert ticker.text() == "tracing: 1 of 2,000 (6 s)"
    ticker("writing")
    assert ticker.text() == "writing (7 s)"


def test_it_draws_on_a_terminal_and_clears_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("floatline.report.progress._PATIENCE_SECONDS", 0.0)
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80)
    with shown_on(console) as progress:
        progress("tracing step 3", 4, 10)
    assert "tracing step 3: 4 of 10" in file.getvalue()
    assert file.getvalue().rstrip().endswith("\x1b[2K")  # the line is erased


@pytest.mark.parametrize(("terminal", "quiet"), [(False, False), (True, True)])
def test_it_is_silent_when_quiet_or_not_on_a_terminal(terminal: bool, quiet: bool) -> None:
    file = io.StringIO()
    with shown_on(Console(file=file, force_terminal=terminal), quiet=quiet) as progress:
        assert progress is silent
        progress("tracing", 1, 2)
    assert file.getvalue() == ""
