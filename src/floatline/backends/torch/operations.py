"""PyTorch operations by what a shadow must do with them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

MOVES = frozenset(
    """
    arange argmax argmin bucketize cat clone col2im constant_pad_nd contiguous copy diag_embed
    diagonal_backward diagonal_scatter embedding empty empty_like empty_permuted empty_strided
    expand_copy eye fill flip full full_like gather im2col index index_put index_select lift
    lift_fresh lift_fresh_copy linspace masked_fill masked_scatter masked_select
    max_pool2d_with_indices max_pool3d_with_indices max_unpool2d mkldnn_max_pool2d narrow_copy
    new_empty new_empty_strided new_full new_ones new_zeros nonzero one_hot ones ones_like
    permute_copy pixel_shuffle pixel_unshuffle reflection_pad1d reflection_pad2d
    reflection_pad3d repeat replication_pad1d replication_pad2d replication_pad3d resize
    resize_as roll rot90 scalar_tensor scatter searchsorted select_backward select_scatter set
    slice_backward slice_scatter sort split_with_sizes_copy stack topk tril triu unfold_backward
    unique_consecutive upsample_nearest2d where zero zeros zeros_like
    """.split()
)
"""Names that only move, copy or choose values: nothing can be rounded. In place or not."""

FOLLOWS_COMPUTED = frozenset(["index", "index_put", "masked_scatter", "masked_select", "nonzero"])
"""Names whose results are as many as the indices say: every lane takes those of the real step."""

LITERALS = frozenset(["fill", "full", "full_like", "new_full", "scalar_tensor"])
"""Names that put a literal of the code into a tensor."""

ROUNDS_ITS_LITERAL = frozenset(
    ["add", "clamp", "clamp_max", "clamp_min", "rsub", "sub", *LITERALS, "masked_fill", "where"]
)
"""Names in which a literal acts as if it were rounded to the result's dtype first."""

FROM_SHAPES = frozenset(
    """
    empty_like full_like new_empty new_empty_strided new_full new_ones new_zeros ones_like
    rand_like randn_like zeros_like
    """.split()
)
"""Names that look at the shape of their argument, and at none of its values."""

MOVES_WEIGHTS = frozenset(
    prefix + name for prefix in ("", "_foreach_") for name in ("add", "addcdiv", "addcmul", "sub")
)
"""Names that, in place, add to a weight what they compute themselves: times a rate, or a quotient.
It is no tensor of its own, and no other value tells how far the weight would move."""

OVERWRITES = frozenset(["copy", "fill", "zero"])
"""Names that, in place, do not look at what they replace."""

WRITES_UNSAID = frozenset(["cudnn_batch_norm", "miopen_batch_norm", "native_batch_norm"])
"""Names that write to running statistics although their schemas do not say so."""

_SHARES = ("dropout_p", "dropout")
_STATISTICS = ("running_mean", "running_var")

READS_BITS = frozenset(["view.dtype"])


@dataclass(frozen=True, slots=True)
class Operation:
    """What is known of one operation before it runs.

    Attributes:
        name: Its name without overload and without the mark of working in place.
        title: The name as PyTorch writes it.
        writes: Names of the arguments that it writes to.
        positions: Their positions among the positional arguments.
        moves: Whether it only moves values.
        random: Whether it draws random numbers.
        chance: Position and name of the share that it drops; what drops nothing draws nothing.
        overwrites: Whether it does not look at what it replaces.
        view: Whether it only gives another view of its argument.
        listwise: Whether it does the same to every element of lists of tensors.
        overload: Name with overload.
    """

    name: str
    title: str
    writes: tuple[str, ...]
    positions: tuple[int, ...]
    moves: bool
    random: bool
    chance: tuple[int, str] | None
    overwrites: bool
    view: bool
    listwise: bool
    overload: str


@cache
def operation(function: Any) -> Operation:
    """What is known of an operation, an `OpOverload`.

    Example:

    >>> operation(torch.ops.aten.add_.Tensor).writes, operation(torch.ops.aten.t.default).view
    (('self',), True)
    """
    schema = function._schema  # noqa: SLF001 (PyTorch's own tools read it: there is no other way)
    title = schema.name.removeprefix("aten::")
    name = title.rstrip("_") if not title.endswith("__") else title
    names = [(position, argument.name) for position, argument in enumerate(schema.arguments)]
    written = [
        (position, argument.name)
        for position, argument in enumerate(schema.arguments)
        if (argument.alias_info is not None and argument.alias_info.is_write)
        or (name in WRITES_UNSAID and argument.name in _STATISTICS)
    ]
    random = torch.Tag.nondeterministic_seeded in function.tags
    aliases = any(r.alias_info is not None for r in schema.returns)
    return Operation(
        name=name,
        title=title,
        writes=tuple(argument for _, argument in written),
        positions=tuple(position for position, _ in written),
        moves=name in MOVES,
        overwrites=bool(written) and (name in OVERWRITES or random),
        random=random,
        chance=next((pair for pair in names if pair[1] in _SHARES), None),
        view=aliases and not written,
        listwise=name.startswith(("_foreach", "_fused", "_amp_foreach")),
        overload=f"{title}.{schema.overload_name}",
    )
