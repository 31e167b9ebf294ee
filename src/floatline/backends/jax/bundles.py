"""Cuts a long jaxpr into groups of operations, and puts groups together that are to be one program.

Starting a program costs a GPU's host as much as many small operations take. What stands side by
side most often is put together first, as byte pair encoding makes words of letters: a sequence
that comes again, layer after layer and variable after variable, becomes the same few bundles each
time. So there are fewer programs to run, and fewer kinds of them to compile, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, pairwise
from typing import Any

from floatline.backends.jax.jaxprs import scopes

BRANCH = "cond"
CONVOLUTION = "conv_general_dilated"

Group = list[Any]
Pair = tuple[int, int]


def cut(equations: Sequence[Any]) -> Iterator[Group]:
    """Groups consecutive operations of one name scope; a branch is a piece of its own.

    Example:

    >>> import jax
    >>> import jax.numpy as jnp
    >>> def function(x):
    ...     for number in range(2):
    ...         with jax.named_scope(f"piece{number}"):
    ...             x = jnp.exp(x) + 1.0
    ...     return x
    >>> [len(group) for group in cut(jax.make_jaxpr(function)(1.0).jaxpr.eqns)]
    [2, 2]
    """
    scope: str | None = None
    group: Group = []
    for equation in equations:
        here = scopes(equation)
        forks = equation.primitive.name == BRANCH
        if group and (forks or here != scope):
            yield group
            group = []
        scope = None if forks else here
        group.append(equation)
    if group:
        yield group


def bundled(groups: Iterable[Group], together: int) -> list[list[Group]]:
    """Puts consecutive groups together, at most so many; branches and convolutions stay alone.

    Args:
        groups: All groups, in order.
        together: The most groups of a bundle.

    Returns:
        The bundles, in order.
    """
    bundles = [[group] for group in groups]
    texts = [_text(group) for (group,) in bundles]
    names = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    kinds = [names[text] for text in texts]
    # One that stays alone fills its bundle.
    sizes = {
        kind: together if _alone(group) else 1
        for kind, (group,) in zip(kinds, bundles, strict=True)
    }
    numbers = count(len(sizes))
    while chosen := _commonest(kinds, sizes, together):
        made = {pair: next(numbers) for pair in chosen}
        sizes |= {kind: sizes[first] + sizes[second] for (first, second), kind in made.items()}
        bundles, kinds = _joined(bundles, kinds, made)
    return _rest(bundles, kinds, sizes, together)


def _text(group: Group) -> str:
    """What is equal for groups that probably compute the same."""
    return " ".join(
        f"{e.primitive.name} {[str(v.aval) for v in (*e.invars, *e.outvars)]}" for e in group
    )


def _alone(group: Group) -> bool:
    return any(equation.primitive.name in (BRANCH, CONVOLUTION) for equation in group)


def _commonest(kinds: Sequence[int], sizes: Mapping[int, int], together: int) -> list[Pair]:
    """The most common pairs that come again, no kind in two of them."""
    found = Counter(pair for pair in pairwise(kinds) if sizes[pair[0]] + sizes[pair[1]] <= together)
    taken: set[int] = set()
    chosen = []
    for pair, times in found.most_common():
        if times > 1 and taken.isdisjoint(pair):
            chosen.append(pair)
            taken.update(pair)
    return chosen


def _joined(
    bundles: Sequence[list[Group]], kinds: Sequence[int], made: Mapping[Pair, int]
) -> tuple[list[list[Group]], list[int]]:
    """The bundles with every one of some pairs made one, and their kinds."""
    found: list[list[Group]] = []
    known: list[int] = []
    place = 0
    while place < len(kinds):
        kind = made.get((kinds[place], kinds[place + 1])) if place + 1 < len(kinds) else None
        width = 1 if kind is None else 2
        found.append([group for bundle in bundles[place : place + width] for group in bundle])
        known.append(kinds[place] if kind is None else kind)
        place += width
    return found, known


def _rest(
    bundles: Sequence[list[Group]], kinds: Sequence[int], sizes: Mapping[int, int], together: int
) -> list[list[Group]]:
    """The bundles with neighbours put together that come only once: no program is saved by them."""
    times = Counter(kinds)
    found: list[list[Group]] = []
    room = 0
    for bundle, kind in zip(bundles, kinds, strict=True):
        if times[kind] == 1 and sizes[kind] <= room:
            found[-1] = found[-1] + bundle
            room -= sizes[kind]
        else:
            found.append(bundle)
            room = together - sizes[kind] if times[kind] == 1 else 0
    return found
