"""Which lanes of a value are one array, so that it is copied and measured only once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Sharing(NamedTuple):
    """What the lanes of a value have in common.

    Example:

    >>> x = [1.0]
    >>> sharing = Sharing.of(x, x, [2.0])
    >>> sharing.distinct
    (0, 2)
    >>> sharing.all_lanes(["the computed one", "the local one"])
    ('the computed one', 'the computed one', 'the local one')
    """

    shadow_is_computed: bool
    local_is_computed: bool
    local_is_shadow: bool

    @classmethod
    def of(cls, computed: Any, shadow: Any, local: Any) -> Sharing:
        """That of these three."""
        return cls(shadow is computed, local is computed, local is shadow)

    @property
    def distinct(self) -> tuple[int, ...]:
        """Positions of the lanes that are arrays of their own: computed, shadow, local."""
        shadow = () if self.shadow_is_computed else (1,)
        local = () if self.local_is_computed or self.local_is_shadow else (2,)
        return (0, *shadow, *local)

    def all_lanes(self, distinct: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Computed, shadow and local from the distinct lanes."""
        by_position = dict(zip(self.distinct, distinct, strict=True))
        computed = by_position[0]
        shadow = by_position.get(1, computed)
        local = shadow if self.local_is_shadow else computed
        return computed, shadow, by_position.get(2, local)
