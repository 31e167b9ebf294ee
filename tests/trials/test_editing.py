"""Differences between texts can be taken back one by one, and a patch is what tools expect."""

from __future__ import annotations

import codecs
import linecache
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floatline.repairs import SourceChange
from floatline.trials.editing import as_change, hunks, patch, root_of, with_change, with_hunks

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


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("ended", [True, False])
def test_git_applies_the_patch(tmp_path: Path, mark: bytes, newline: bytes, *, ended: bool) -> None:
    file = tmp_path / "train.py"
    old, new = ([*first, *"bcédefg"] for first in ("a", "Ax"))
    new[-1] = "G"
    held, wanted = (mark + "\n".join(lines).encode() for lines in (old, new))
    held, wanted = ((text + b"\n" * ended).replace(b"\n", newline) for text in (held, wanted))
    file.write_bytes(held)
    before = {str(file): "".join(linecache.getlines(str(file)))}  # As Python reads it.
    text = patch(before, {str(file): "\n".join(new) + "\n"}, tmp_path)
    applied(text, tmp_path)
    assert file.read_bytes() == wanted


def test_a_patch_of_files_elsewhere_is_for_the_folder_above_them_all(tmp_path: Path) -> None:
    for name in ("runs", "code", "code/parts"):
        (tmp_path / name).mkdir()
    texts = {
        str(tmp_path / "runs" / ".." / "code" / name): "a\n" for name in ("t.py", "parts/p.py")
    }
    for file in texts:
        Path(file).write_text("a\n", encoding="utf-8")
    text = patch(texts, dict.fromkeys(texts, "b\n"), tmp_path / "runs")
    assert root_of(texts, tmp_path / "runs") == tmp_path
    applied(text, tmp_path)
    assert {Path(file).read_text(encoding="utf-8") for file in texts} == {"b\n"}


def test_lines_are_python_s(tmp_path: Path) -> None:
    texts = {"a.py": "a = 1\n\x0c\nb = '\u2028'\nc = b\n"}
    changed = with_change(texts, SourceChange("a.py", 4, "c = b", "c = a", ""))
    (hunk,) = hunks(texts, changed)
    assert (hunk.start, hunk.new) == (3, ("c = a\n",))


def test_lines_that_change_side_by_side_can_be_left_out_alone() -> None:
    before, after = {"a.py": "a = 1\nb = 1\n"}, {"a.py": "a = 2\nb = 2\n"}
    assert [hunk.new for hunk in hunks(before, after)] == [("a = 2\n",), ("b = 2\n",)]
    before, after = {"a.py": "a = (1,\n2)\n"}, {"a.py": "a = [1,\n2]\n"}
    assert len(hunks(before, after)) == 1  # Either line alone is no Python.


def applied(text: str, folder: Path) -> None:
    command = ["git", "apply", "-"]
    subprocess.run(command, cwd=folder, input=text.encode(), check=True, timeout=60)
