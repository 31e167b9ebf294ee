"""The few shapes that the terminal report is made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_INDENT = 3


def indented(content: RenderableType) -> Padding:
    """The content, moved to the right of its title."""
    return Padding(content, (0, 0, 0, _INDENT))


def section(title: str, content: Iterable[RenderableType]) -> Group:
    """A title with indented content below it."""
    return Group(Text(title, style="bold"), indented(Group(*content)))


def spaced(parts: Iterable[RenderableType]) -> Iterator[RenderableType]:
    """The parts with an empty line after each."""
    for part in parts:
        yield part
        yield Text("")


def bullet(text: str) -> Table:
    """One entry of a list; its later lines stay clear of the mark."""
    return _marked("-", Text(text))


def quote(text: str) -> Padding:
    """A line of source code; when it is folded, its later lines stay clear of the mark."""
    return indented(_marked("|", Text(text, style="italic")))


def _marked(mark: str, text: Text) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(overflow="fold")
    grid.add_row(Text(mark), text)
    return grid


def pairs(rows: Sequence[tuple[str, str]]) -> Table:
    """Names on the left, values on the right."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(overflow="fold", no_wrap=False, max_width=34)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(Text(name), Text(value))
    return grid


def columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A small table: text to the left, numbers to the right, no lines."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for index, title in enumerate(header):
        table.add_column(title, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
