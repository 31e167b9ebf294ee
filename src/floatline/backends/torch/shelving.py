"""Copies of PyTorch's tensors: in memory, or bit for bit on a shelf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from floatline.backends.shelf import Shelf, Shelved
from floatline.backends.torch.lanes import Tensor


@dataclass(frozen=True, slots=True)
class OnShelf:
    """A tensor whose values are on a shelf.

    Attributes:
        bits: The bytes of its elements, row by row.
        dtype: Its dtype.
        shape: Its shape.
        device: Where it was.
    """

    bits: Shelved
    dtype: torch.dtype
    shape: tuple[int, ...]
    device: torch.device


def copy_of(tensor: Tensor, shelf: Shelf | None) -> Tensor | OnShelf:
    """A copy on the shelf, where there is one and the tensor is large and ordinary."""
    tensor = tensor.detach()
    if shelf is None or not shelf.takes(tensor.nbytes) or not _is_plain(tensor):
        return tensor.clone()
    bits = tensor.reshape(-1).view(torch.uint8).cpu().numpy()
    return OnShelf(shelf.put(bits), tensor.dtype, tuple(tensor.shape), tensor.device)


def recalled(value: Tensor | OnShelf | None) -> Any:
    """The copy as a tensor."""
    if not isinstance(value, OnShelf):
        return value
    flat = torch.from_numpy(value.bits.array()).view(value.dtype)
    return flat.reshape(value.shape).to(value.device)


def _is_plain(tensor: Tensor) -> bool:
    """Whether its elements lie side by side as they are; memory formats are kept as they are."""
    lazy = tensor.is_conj() or tensor.is_neg() or tensor.is_quantized
    ordinary = tensor.layout == torch.strided and tensor.is_contiguous()
    return ordinary and not lazy and type(tensor) in (torch.Tensor, torch.nn.Parameter)
