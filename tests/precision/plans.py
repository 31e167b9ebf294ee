"""Any valid plan, for properties that hold for all of them."""

from __future__ import annotations

from hypothesis import assume
from hypothesis import strategies as st

from floatline.errors import InputError
from floatline.precision.plan import Plan
from floatline.precision.policies import POLICIES
from floatline.precision.rule import (
    LOSS_SCALES,
    OPTIMIZER_SETTINGS,
    Epsilon,
    LossScale,
    Rule,
    Setting,
)

_TEXT = st.text(min_size=1).filter(str.strip)
_POSITIVE = st.integers(1, 2**40) | st.floats(2.0**-40, 2.0**40)
_LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
_NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
_JSON = _LEAVES | _NUMBERS | st.lists(_LEAVES, max_size=2) | st.dictionaries(st.text(), _NUMBERS)
_EVIDENCE = st.dictionaries(st.text(max_size=5), _JSON, max_size=2)

_RULES = st.builds(
    Rule,
    policy=st.sampled_from(list(POLICIES)),
    reason=_TEXT,
    path=st.none() | st.text(),
    layer_class=st.none() | st.text(min_size=1),
    sublayers=st.booleans(),
    evidence=_EVIDENCE,
) | st.builds(
    Rule,
    policy=st.sampled_from(list(POLICIES)),
    reason=_TEXT,
    regex=st.sampled_from(["block_[0-9]+/.*", ".*norm", "a|b"]),
    evidence=_EVIDENCE,
)

_SCALES = st.sampled_from(list(LOSS_SCALES)).flatmap(
    lambda kind: st.builds(
        LossScale,
        kind=st.just(kind),
        reason=_TEXT,
        settings=st.fixed_dictionaries({}, optional=dict.fromkeys(LOSS_SCALES[kind], _POSITIVE)),
        evidence=_EVIDENCE,
    )
)

_SETTINGS = st.builds(
    Setting,
    name=st.sampled_from(OPTIMIZER_SETTINGS),
    value=_POSITIVE,
    reason=_TEXT,
    evidence=_EVIDENCE,
)

_EPSILONS = st.builds(Epsilon, path=st.text(), value=_POSITIVE, reason=_TEXT, evidence=_EVIDENCE)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Rules, loss scale and settings that do not contradict each other."""
    try:
        return Plan(
            tuple(draw(st.lists(_RULES, max_size=4))),
            draw(st.none() | _SCALES),
            tuple(draw(st.lists(_SETTINGS, max_size=2))),
            tuple(draw(st.lists(_EPSILONS, max_size=2))),
        )
    except InputError:
        assume(False)
        raise
