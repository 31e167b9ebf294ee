"""Operations whose float32 lane is not the same call with other dtypes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from floatline.backends.torch.lanes import Arguments, Tensor, leaves, raised_dtypes

LaneCall = Callable[[Any, Arguments, Any], Any]
"""Runs one lane: the operation, the lane's arguments, the computed result."""


def plain(function: Any, arguments: Arguments, computed: Any) -> Any:
    """The same operation on the lane's arguments."""
    del computed
    args, kwargs = arguments
    return function(*args, **kwargs)


def _dropout(function: Any, arguments: Arguments, computed: Any) -> Any:
    """What the real step dropped is dropped in every lane."""
    del function
    (values, share, training, *_), _ = arguments
    mask = computed[1]
    if training is False or share == 0:
        return values.clone(), mask
    return values * mask * (1.0 / (1.0 - share) if share < 1 else 0.0), mask


def _in_its_own_dtype(function: Any, arguments: Arguments, computed: Any) -> Any:
    """A softmax that would widen its 16-bit input: here the input is wide already."""
    del computed
    (values, dimension, _), kwargs = arguments
    return function(values, dimension, False, **raised_dtypes(kwargs))


def _attention(function: Any, arguments: Arguments, computed: Any) -> Any:
    """Attention by its formula: the fused kernels know no float32."""
    args = _named(function, arguments)
    _without_dropout(args)
    result = torch.softmax(_scores(args), -1) @ args["value"]
    return (result, *(_upcast_all(computed[1:])))


def _attention_backward(function: Any, arguments: Arguments, computed: Any) -> Any:
    """The gradient of attention by its formula."""
    args = _named(function, arguments)
    _without_dropout(args)
    upstream, query, key, value = (args[n] for n in ("grad_out", "query", "key", "value"))
    weights = torch.softmax(_scores(args), -1)
    by_weight = upstream @ value.mT
    by_score = weights * (by_weight - (by_weight * weights).sum(-1, keepdim=True))
    scale = _scale(args)
    gradients = (by_score @ key * scale, by_score.mT @ query * scale, weights.mT @ upstream)
    return (*gradients, *_upcast_all(computed[3:]))


def in_float32(name: str, function: Any, arguments: Arguments) -> Any:
    """An operation in a step of which every part is in float32."""
    if name in ("_softmax", "_log_softmax"):
        return _in_its_own_dtype(function, arguments, None)
    return plain(function, arguments, None)


def _named(function: Any, arguments: Arguments) -> dict[str, Any]:
    """The arguments by name, defaults included."""
    positional, named = arguments
    schema = function._schema.arguments  # noqa: SLF001 (the names of positional arguments)
    known = {argument.name: argument.default_value for argument in schema}
    known.update(zip(known, positional, strict=False))
    return {**known, **named}


def _without_dropout(args: dict[str, Any]) -> None:
    if args.get("dropout_p"):
        raise NotImplementedError("its mask is drawn inside the kernel")


def _scale(args: dict[str, Any]) -> float:
    scale = args.get("scale")
    return 1.0 / math.sqrt(args["query"].shape[-1]) if scale is None else float(scale)


def _scores(args: dict[str, Any]) -> Tensor:
    scores = args["query"] @ args["key"].mT * _scale(args)
    bias = args.get("attn_bias")
    if bias is not None:
        scores = scores + bias
    if args.get("is_causal"):
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(hidden, -math.inf)
    return scores


def _upcast_all(values: Any) -> list[Any]:
    return [
        value.to(torch.float32)
        if isinstance(value, torch.Tensor) and value.is_floating_point()
        else value
        for value in leaves(list(values))
    ]


LANE_CALLS: dict[str, LaneCall] = {
    "native_dropout": _dropout,
    "_softmax": _in_its_own_dtype,
    "_log_softmax": _in_its_own_dtype,
    "_scaled_dot_product_flash_attention": _attention,
    "_scaled_dot_product_flash_attention_backward": _attention_backward,
    "_scaled_dot_product_cudnn_attention": _attention,
    "_scaled_dot_product_cudnn_attention_backward": _attention_backward,
}
"""By name; every other operation is called as it is."""
