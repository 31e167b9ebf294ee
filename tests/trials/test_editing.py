"""Differences between texts can be taken back one by one, and a patch is what tools expect."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floatline.repairs import SourceChange
from floatline.trials.editing import as_change, hunks, patch, with_change, with_hunks

TEXTS = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=9).map(
    lambda lines: "".join(f"{line}\n" for line in lines)
)


@given(TEXTS, TEXTS)
def test_all_differences_give_the_new_text_and_none_the_old(old: str, new: str) -> None:
    before, after = {"a.py": old}, {"a.py": new}
    found = hunks(before, after)
    assert with_hunks(before, found) == after
    assert with_hunks(before, ()) == before


@given(TEXTS, TEXTS)
def test_a_difference_can_be_left_out(old: str, new: str) -> None:
    before, after = {"a.py": old}, {"a.py": new}
    found = hunks(before, after)
    for left_out in found:
        some = with_hunks(before, [hunk for hunk in found if hunk is not left_out])
        assert with_hunks(some, hunks(some, after)) == after
        assert some != after


@pytest.mark.parametrize(
    ("text", "now", "then", "result"),
    [
        ("x = y\n", "x = y", "x = z", "x = z\n"),
        ("if a:\n    x = y  # why\n", "x = y", "y = f(y)\nx = y", None),
        ("def f():\n    x = [\n        1,\n    ]\n", "x = [\n    1,\n]", "x = [\n    2,\n]", None),
    ],
)
def test_a_statement_is_replaced_in_its_place(
    text: str, now: str, then: str, result: str | None
) -> None:
    line = next(i for i, t in enumerate(text.splitlines(), 1) if t.strip().startswith("x ="))
    changed = with_change({"a.py": text}, SourceChange("a.py", line, now, then, ""))["a.py"]
    expected = (
        result
        or {
            "y = f(y)\nx = y": "if a:\n    y = f(y)\n    x = y  # why\n",
            "x = [\n    2,\n]": "def f():\n    x = [\n        2,\n    ]\n",
        }[then]
    )
    assert changed == expected


def test_a_statement_that_stands_elsewhere_is_left_alone() -> None:
    texts = {"a.py": "x = 1\ny = 2\n"}
    assert with_change(texts, SourceChange("a.py", 2, "x = 1", "x = 2", "")) == texts


def test_a_difference_keeps_the_reasons_of_its_proposals() -> None:
    before, after = {"a.py": "a\nb\n"}, {"a.py": "a\nc\nb\n"}
    (hunk,) = hunks(before, after)
    proposals = [SourceChange("a.py", 1, "", text, reason) for text, reason in ("cC", "dD")]
    assert as_change(before, hunk, proposals) == SourceChange("a.py", 2, "b", "c\nb", "C")


@pytest.mark.parametrize("end", ["\n", ""])
def test_git_applies_the_patch(tmp_path: Path, end: str) -> None:
    file = tmp_path / "train.py"
    old, new = f"a\nb\nc\nd{end}", f"a\nB\nc\nD{end}"
    file.write_text(old, encoding="utf-8")
    text = patch({str(file): old}, {str(file): new}, tmp_path)
    subprocess.run(
        ["git", "apply", "-"], cwd=tmp_path, input=text, text=True, check=True, timeout=60
    )
    assert file.read_text(encoding="utf-8") == new
