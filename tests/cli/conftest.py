"""A command line whose diagnosis is made by hand: no script runs, no framework loads."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from click.testing import CliRunner, Result

from floatline.cli.main import cli
from floatline.records import Diagnosis
from tests.report import samples


@dataclass
class Stub:
    """Stands for `floatline.pipeline`: notes what it is asked, answers what it is told to."""

    answer: Diagnosis | BaseException = field(default_factory=samples.precision)
    meanwhile: Callable[[], Any] = lambda: None
    script: str = ""
    arguments: tuple[str, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)
    calls: int = 0

    def diagnose_script(self, script: str, arguments: Any, **keywords: Any) -> Diagnosis:
        self.calls += 1
        self.script, self.arguments, self.keywords = script, tuple(arguments), keywords
        self.meanwhile()
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    made = Stub()
    module = types.ModuleType("floatline.pipeline")
    module.diagnose_script = made.diagnose_script  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "floatline.pipeline", module)
    return made


@pytest.fixture
def run(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    def invoke(*words: str) -> Result:
        return CliRunner().invoke(cli, words)

    return invoke
