"""The dtype policies that a plan may ask for, as a table: compute and variable dtype."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from floatline.errors import InputError


@dataclass(frozen=True, slots=True)
class Policy:
    """A dtype policy of Keras.

    Attributes:
        name: As Keras spells it.
        compute_dtype: What a layer's inputs and weights are cast to before it computes.
        variable_dtype: What its weights are kept in.
    """

    name: str
    compute_dtype: str
    variable_dtype: str


# https://keras.io/api/mixed_precision/policy/ - quantized policies change the weights' meaning and
# are set with `quantize`, so a plan cannot ask for them.
POLICIES: Mapping[str, Policy] = {
    policy.name: policy
    for policy in (
        Policy("mixed_float16", "float16", "float32"),
        Policy("mixed_bfloat16", "bfloat16", "float32"),
        Policy("float16", "float16", "float16"),
        Policy("bfloat16", "bfloat16", "bfloat16"),
        Policy("float32", "float32", "float32"),
    )
}


def policy_named(name: object, where: str = "") -> Policy:
    """The policy of that name.

    Args:
        name: What was received.
        where: What received it, in words, for the message.

    Raises:
        InputError: There is no such policy, or a plan cannot ask for it.

    Example:

    >>> policy_named("mixed_float16").compute_dtype
    'float16'
    """
    if isinstance(name, str) and name in POLICIES:
        return POLICIES[name]
    at = f" in {where}" if where else ""
    raise InputError(
        f"{name!r} is not a dtype policy that a plan can ask for{at}.",
        f"{guess(name, POLICIES)}Allowed: {', '.join(POLICIES)}.",
    )


def guess(name: object, known: Iterable[str], *, at_most: int = 1) -> str:
    """A question about what was meant, or nothing; ends with a blank.

    Args:
        name: What was received.
        known: What is allowed.
        at_most: How many names the question offers.

    Example:

    >>> guess("mixed_flaot16", POLICIES)
    "Did you mean 'mixed_float16'? "
    """
    close = get_close_matches(str(name), list(known), n=at_most, cutoff=0.6)
    return f"Did you mean {' or '.join(repr(word) for word in close)}? " if close else ""
