"""What is counted of elements that are not ordinary: which classes their lanes are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

ZERO, SUBNORMAL, NORMAL, INF, NAN = range(5)
CLASSES = 5
CODES = CLASSES**3
"""Joint classes of a special element: computed, shadow, local."""

_ANY, _FINITE, _NONZERO = range(CLASSES), range(ZERO, INF), range(SUBNORMAL, INF)


class Tally(NamedTuple):
    """Special elements that are counted together: the classes that each lane may be of."""

    computed: Sequence[int] = _ANY
    shadow: Sequence[int] = _ANY
    local: Sequence[int] = _ANY


TALLIES: Mapping[str, Tally] = {
    "zero": Tally(computed=[ZERO]),
    "subnormal": Tally(computed=[SUBNORMAL]),
    "inf": Tally(computed=[INF]),
    "nan": Tally(computed=[NAN]),
    "shadow_zero": Tally(shadow=[ZERO]),
    "shadow_inf": Tally(shadow=[INF]),
    "shadow_nan": Tally(shadow=[NAN]),
    "saturated": Tally(computed=[INF], shadow=_FINITE),
    "flushed": Tally(computed=[ZERO], shadow=_NONZERO),
    "poisoned": Tally(computed=[NAN], shadow=_FINITE),
    "local_saturated": Tally(computed=[INF], local=_FINITE),
    "local_flushed": Tally(computed=[ZERO], local=_NONZERO),
    "local_nonfinite": Tally(local=[INF, NAN]),
}


def _members() -> np.ndarray:
    """For each tally, 1 at the joint classes that it counts."""
    computed, shadow = np.arange(CODES) % CLASSES, np.arange(CODES) // CLASSES % CLASSES
    local = np.arange(CODES) // CLASSES**2
    counted = [
        np.isin(computed, tally.computed)
        & np.isin(shadow, tally.shadow)
        & np.isin(local, tally.local)
        for tally in TALLIES.values()
    ]
    return np.array(counted, np.int32)


MEMBERS = _members()
"""`(tallies, codes)` int32: 1 where a tally counts a joint class."""
