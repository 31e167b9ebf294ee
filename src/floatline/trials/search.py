"""Finds the smallest set of remedies that cures a training; knows nothing of how it is tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from floatline.repairs import TrialVerdict

Names = tuple[str, ...]
"""Remedies by name."""

Attempt = Callable[[Names], TrialVerdict | None]
"""Tries a set of remedies; None when the budget is spent."""

LONGER = 3
"""What was found is tried this many times as long, to show that it lasts."""


@dataclass(frozen=True, slots=True)
class Found:
    """The answer of a search.

    Attributes:
        chosen: The remedies that cure together, or None.
        minimal: Whether leaving out any one of them was shown not to cure.
        exhausted: Whether the budget ended the search.
        lasting: Whether they were shown to last; None when that was not decided.
    """

    chosen: Names | None
    minimal: bool
    exhausted: bool
    lasting: bool | None = None


def _undecided(_remedies: Names) -> bool | None:
    return None


def search(
    sets: Sequence[Names],
    attempt: Attempt,
    lasts: Callable[[Names], bool | None] = _undecided,
) -> Found:
    """Tries sets in order until one cures, then leaves out what is not missed.

    The empty set is tried first: what it cures needs no remedy. A set is made smaller by leaving
    out halves, then quarters and so on, as delta debugging does (Zeller and Hildebrandt 2002,
    https://doi.org/10.1109/32.988498), so that a long span of layers takes few trials.

    Args:
        sets: Sets of remedies, cheapest first.
        attempt: Tries one set; it is never asked for the same set twice.
        lasts: Whether a cure holds for longer. One that does not is no cure, and the search goes
            on; when nothing better comes, it is the answer.

    Example:

    >>> cures = lambda remedies: "fixed" if {"b", "d"} <= set(remedies) else "not fixed"
    >>> search([("a",), ("a", "b", "c", "d")], cures).chosen
    ('b', 'd')
    """
    memory, passing = _Memory(attempt), None
    for remedies in [(), *sets]:
        verdict = memory.verdict(remedies)
        if verdict is None:
            return passing or Found(None, minimal=False, exhausted=True)
        if verdict != "fixed":
            continue
        found = _reduced(remedies, memory)
        found = replace(found, lasting=lasts(found.chosen or ()))
        if found.lasting is not False:
            return found
        memory.correct(found.chosen or ())
        passing = passing or found
    return passing or Found(None, minimal=False, exhausted=False)


class _Memory:
    """Remembers verdicts: a training with the same seeds gives the same answer."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._known: dict[frozenset[str], TrialVerdict] = {}

    def verdict(self, remedies: Names) -> TrialVerdict | None:
        key = frozenset(remedies)
        if key not in self._known:
            verdict = self._attempt(remedies)
            if verdict is None:
                return None
            self._known[key] = verdict
        return self._known[key]

    def correct(self, remedies: Names) -> None:
        """A cure that did not last is none."""
        self._known[frozenset(remedies)] = "not fixed"


def _reduced(kept: Names, memory: _Memory) -> Found:
    size = max(1, len(kept) // 2)
    while True:
        smaller, exhausted = _without_a_part(kept, size, memory)
        if exhausted:
            return Found(kept, minimal=False, exhausted=True)
        if smaller is not None:
            kept = smaller
            size = max(1, min(size, len(kept) // 2))
        elif size > 1:
            size = size // 2
        else:
            return Found(kept, minimal=_each_is_missed(kept, memory), exhausted=False)


def _without_a_part(kept: Names, size: int, memory: _Memory) -> tuple[Names | None, bool]:
    """A smaller set that still cures, if leaving out `size` neighbours does; and if time is up."""
    if not kept:
        return None, False
    for start in range(0, len(kept), size):
        rest = kept[:start] + kept[start + size :]
        verdict = memory.verdict(rest)
        if verdict is None:
            return None, True
        if verdict == "fixed":
            return rest, False
    return None, False


def _each_is_missed(kept: Names, memory: _Memory) -> bool:
    rests = (tuple(name for name in kept if name != left_out) for left_out in kept)
    return all(memory.verdict(rest) == "not fixed" for rest in rests)
