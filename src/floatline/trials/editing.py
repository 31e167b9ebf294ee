"""Changes in source text: made in a copy, compared with the original, taken back one by one."""

from __future__ import annotations

import ast
import codecs
import difflib
import os
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from floatline.repairs import SourceChange
from floatline.sources import lines_of

Texts = Mapping[str, str]
"""What files hold, by their paths as Python knows them."""


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines of a file that others take the place of.

    Attributes:
        file: The file.
        start: The first of the lines, from 0.
        end: The line behind the last.
        new: The lines in their place, with their ends.
    """

    file: str
    start: int
    end: int
    new: tuple[str, ...]


def with_change(texts: Texts, change: SourceChange) -> Texts:
    r"""The texts with a statement as it could read; the same texts where it does not stand there.

    Example:

    >>> change = SourceChange("a.py", 2, "y = x", "z = x\ny = z", "")
    >>> with_change({"a.py": "def f(x):\n    y = x\n"}, change)["a.py"]
    'def f(x):\n    z = x\n    y = z\n'
    """
    lines = lines_of(texts[change.file])
    first, count = change.line - 1, change.now.count("\n") + 1
    now = "".join(lines[first : first + count])
    bare = textwrap.dedent(now)
    if not bare.startswith(change.now):
        return texts
    indent = now[: now.index(lines_of(bare)[0].rstrip("\n"))] if bare else ""
    behind = bare[len(change.now) :]  # A comment, the end of the line.
    then = textwrap.indent(f"{change.then}{behind}", indent)
    return {**texts, change.file: "".join([*lines[:first], then, *lines[first + count :]])}


def hunks(before: Texts, after: Texts) -> tuple[Hunk, ...]:
    """Where two states of the same files differ."""
    return tuple(hunk for file, text in after.items() for hunk in _hunks(file, before[file], text))


def _hunks(file: str, before: str, after: str) -> Iterator[Hunk]:
    old, new = lines_of(before), lines_of(after)
    for tag, start, end, first, last in difflib.SequenceMatcher(None, old, new).get_opcodes():
        if tag == "insert" and start < len(old):
            # With the line that it stands before, so that a reader sees what it is for.
            yield Hunk(file, start, start + 1, (*new[first:last], old[start]))
        elif tag != "equal":
            whole = Hunk(file, start, end, tuple(new[first:last]))
            yield from _by_line(before, whole)


def _by_line(before: str, whole: Hunk) -> Sequence[Hunk]:
    """One for each line, where as many lines follow and each alone leaves the file Python."""
    if len(whole.new) != whole.end - whole.start:
        return [whole]
    places = enumerate(whole.new, start=whole.start)
    single = [Hunk(whole.file, place, place + 1, (line,)) for place, line in places]
    texts = (with_hunks({whole.file: before}, [hunk])[whole.file] for hunk in single)
    return single if all(is_python(text) for text in texts) else [whole]


def is_python(text: str) -> bool:
    """Whether a text can be parsed."""
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


def with_hunks(before: Texts, chosen: Sequence[Hunk]) -> Texts:
    r"""The original texts with some of the differences only.

    Example:

    >>> before, after = {"a.py": "a\nb\nc\n"}, {"a.py": "A\nb\nx\nc\n"}
    >>> with_hunks(before, hunks(before, after)) == after
    True
    >>> with_hunks(before, hunks(before, after)[1:])["a.py"]
    'a\nb\nx\nc\n'
    """
    lines = {file: lines_of(text) for file, text in before.items()}
    for hunk in sorted(chosen, key=lambda hunk: hunk.start, reverse=True):
        lines[hunk.file][hunk.start : hunk.end] = hunk.new
    return {file: "".join(text) for file, text in lines.items()}


def as_change(before: Texts, hunk: Hunk, proposals: Sequence[SourceChange]) -> SourceChange:
    """A difference as a change, with the reasons of the proposals that it comes from."""
    now = lines_of(before[hunk.file])[hunk.start : hunk.end]
    new = [line.strip() for line in hunk.new]
    reasons = [proposal.reason for proposal in proposals if _of(new, proposal)]
    old, then = (textwrap.dedent("".join(lines)).rstrip() for lines in (now, hunk.new))
    return SourceChange(hunk.file, hunk.start + 1, old, then, " ".join(dict.fromkeys(reasons)))


def together(
    found: Sequence[Hunk], proposals: Sequence[SourceChange]
) -> tuple[tuple[Hunk, ...], ...]:
    """Differences in groups: those of a proposal that is whole are one, any other one by itself."""
    whole = [proposal for proposal in proposals if proposal.whole]
    groups: dict[int, tuple[Hunk, ...]] = {}
    for number, hunk in enumerate(found):
        new = [line.strip() for line in hunk.new]
        mine = (n for n, p in enumerate(whole) if p.file == hunk.file and _of(new, p))
        key = next(mine, len(whole) + number)
        groups[key] = (*groups.get(key, ()), hunk)
    return tuple(groups.values())


def _of(new: Sequence[str], proposal: SourceChange) -> bool:
    """Whether a proposal holds one of the lines, but for a comment behind it."""
    proposed = tuple(filter(None, (line.strip() for line in proposal.then.splitlines())))
    return any(line.startswith(proposed) for line in new)


def patch(before: Texts, after: Texts, folder: Path) -> str:
    """A unified diff, for `git apply` or `patch -p1` in `root_of` the changed files.

    Ends of lines and a byte order mark, which Python drops as it reads, are as in the files.
    """
    changed = {file: text for file, text in after.items() if text != before[file]}
    root, lines = root_of(changed, folder), list[str]()
    for file, text in changed.items():
        old, new = (_as_kept(Path(file), read) for read in (before[file], text))
        name = Path(os.path.normpath(file)).relative_to(root).as_posix()
        lines += difflib.unified_diff(old, new, f"a/{name}", f"b/{name}")
    unended = "\n\\ No newline at end of file\n"
    return "".join(line if line.endswith("\n") else f"{line}{unended}" for line in lines)


def root_of(files: Iterable[str], folder: Path) -> Path:
    """The folder itself, or the nearest one above it that holds all the files.

    Example:

    >>> root_of(["/home/ada/train.py"], Path("/home/ada/runs")).as_posix()
    '/home/ada'
    """
    folders = (os.path.dirname(os.path.normpath(file)) for file in files)
    return Path(os.path.commonpath([os.path.normpath(folder), *folders]))


def _as_kept(file: Path, text: str) -> list[str]:
    """Lines as a file spells them, whose byte order mark, line ends and last line Python evens."""
    held = file.read_bytes()
    mark = "\ufeff" if held.startswith(codecs.BOM_UTF8) else ""
    end = "\r\n" if held.partition(b"\n")[0].endswith(b"\r") else "\n"
    kept = text if held.endswith(b"\n") else text.removesuffix("\n")
    return lines_of(mark + kept.replace("\n", end))
