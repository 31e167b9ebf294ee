"""Places: which source lines can be quoted."""

from pathlib import Path

import pytest

from floatline.records import SourceLine
from floatline.report.places import quoted


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "a.py").write_text("# coding: utf-8\n    x = 'ö'\n\n", encoding="utf-8")
    (tmp_path / "b.py").write_bytes(b"x = '\xff'\n")
    return tmp_path


def test_a_line_is_quoted_without_its_indentation(base: Path) -> None:
    assert quoted(SourceLine("a.py", 2), base) == "x = 'ö'"
    assert quoted(SourceLine(str(base / "a.py"), 2), Path("/elsewhere")) == "x = 'ö'"


@pytest.mark.parametrize(
    "source",
    [
        SourceLine("a.py", 3),  # empty
        SourceLine("a.py", 0),
        SourceLine("a.py", 99),
        SourceLine("b.py", 1),  # not text
        SourceLine("missing.py", 1),
        SourceLine("<stdin>", 1),
        SourceLine(".", 1),
    ],
)
def test_what_cannot_be_read_is_not_quoted(source: SourceLine, base: Path) -> None:
    assert quoted(source, base) is None
