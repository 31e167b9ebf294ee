"""Sites of a step: described while the step is built, completed when it has been measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from floatline.records import Place, Role, Site, Statistics


@dataclass(frozen=True, slots=True)
class Description:
    """A site without its statistics.

    `sources` may name loop variables, which are negative; `shape` is None while even the rank is
    unknown.
    """

    place: Place
    role: Role
    dtype: str
    shape: tuple[int | None, ...] | None
    sources: tuple[int, ...] = ()
    constant: float | None = None
    variable: str | None = None


class Ledger:
    """Every site of a step in the order of execution, and which values feed which.

    A value that travels round a loop has no single source when the loop body is read: it comes
    from outside at first and from the body's own end later. It is given a negative number, whose
    sources are added when they are known.
    """

    def __init__(self) -> None:
        self._sites: list[Description] = []
        self._carried: list[set[int]] = []

    def __len__(self) -> int:
        return len(self._sites)

    def add(self, description: Description) -> int:
        """Enters a site; returns its index."""
        self._sites.append(description)
        return len(self._sites) - 1

    def carry(self, sources: Iterable[int]) -> int:
        """A number for a loop variable that starts from `sources`."""
        self._carried.append(set(sources))
        return -len(self._carried)

    def feed(self, carried: int, sources: Iterable[int]) -> None:
        """Adds what the loop variable is replaced by at the end of each iteration."""
        self._carried[-carried - 1].update(sources)

    def complete(self, statistics: Sequence[Statistics]) -> tuple[Site, ...]:
        """The sites with their measurements, loop variables resolved."""
        return tuple(
            Site(
                index=index,
                place=site.place,
                role=site.role,
                dtype=site.dtype,
                shape=site.shape or (),
                inputs=self.resolve(site.sources),
                statistics=measured,
                constant=site.constant,
                variable=site.variable,
            )
            for index, (site, measured) in enumerate(zip(self._sites, statistics, strict=True))
        )

    def resolve(self, sources: Iterable[int]) -> tuple[int, ...]:
        """The sites behind the sources, loop variables followed round their loops."""
        found: set[int] = set()
        seen: set[int] = set()
        waiting = list(sources)
        while waiting:
            source = waiting.pop()
            if source >= 0:
                found.add(source)
            elif source not in seen:
                seen.add(source)
                waiting.extend(self._carried[-source - 1])
        return tuple(sorted(found))
