"""Shadow values, kept beside the memory that holds the computed ones.

A view shares its base's memory, and an operation in place writes to it. So the shadow of a tensor
is the same window on a float32 copy of that memory: views need nothing of their own, and what is
written through one of them is seen through all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.weak import WeakTensorKeyDictionary

from floatline.backends.memory import HostMemory
from floatline.backends.torch.lanes import Tensor, raised, upcast

PURGE_EVERY = 256
"""New slots between two searches for memory that the step has freed."""

PURGE_BYTES = 1 << 28
"""New shadow bytes after which freed memory is searched for at once, or `PURGE_SHARE` of those that
live, if that is more: to search takes as long as there are slots."""

PURGE_SHARE = 1 / 8


class Slot:
    """What is known of one block of computed values.

    Attributes:
        sources: Sites that its values come from.
        dtype: Dtype under which it was first seen.
        flat: The shadow of the whole block, one element for each of its elements; None while the
            lanes cannot differ.
        whole: The shadow of a result that is laid out in another way than the computed one, as
            the workspace of a library call is; it can only be read as a whole.
        widened: Whether it holds 16-bit values that were cast to a wider dtype.
        wide: The operation in a wider dtype whose result it is, where that is worth knowing.
        size: Bytes of the shadow.
    """

    __slots__ = ("dtype", "flat", "reference", "size", "sources", "whole", "wide", "widened")

    def __init__(self, reference: Any, dtype: torch.dtype, sources: tuple[int, ...]) -> None:
        self.reference = reference
        self.dtype = dtype
        self.sources = sources
        self.flat: Tensor | None = None
        self.whole: Tensor | None = None
        self.widened = False
        self.wide: Any = None
        self.size = 0

    @property
    def differs(self) -> bool:
        """Whether the shadow is a tensor of its own."""
        return self.flat is not None or self.whole is not None


class Shadows:
    """Slots by the memory they describe, for as long as that memory lives.

    Args:
        first_sight: Called with a tensor whose memory was there before the step; returns the
            sites that its values come from.
    """

    def __init__(self, first_sight: Callable[[Tensor], tuple[int, ...]]) -> None:
        self._first_sight = first_sight
        self._slots: dict[int, Slot] = {}
        # Sparse tensors have no memory of their own; they are known by themselves.
        self._sparse: Any = WeakTensorKeyDictionary()
        self._fresh = self._fresh_bytes = 0
        self._enough_bytes: float = PURGE_BYTES
        self._host = HostMemory()

    def slot(self, tensor: Tensor) -> Slot:
        """What is known of the memory of a tensor."""
        known = self.find(tensor)
        if known is None:
            known = self._enter(tensor, ())
            known.sources = self._first_sight(tensor)
        return known

    def __len__(self) -> int:
        return len(self._slots)

    def find(self, tensor: Tensor) -> Slot | None:
        """What is known of the memory of a tensor; None when it was not met yet."""
        if tensor.layout != torch.strided:
            return self._sparse.get(tensor)  # type: ignore[no-any-return]  # the dictionary is untyped
        return self._slots.get(tensor.untyped_storage()._cdata)  # noqa: SLF001 (as in `memory`, which is called too often here)

    def read(self, tensor: Tensor) -> Tensor:
        """The shadow of a tensor; must not be written to."""
        slot = self.slot(tensor)
        if slot.whole is not None:
            return slot.whole
        window = _window(slot, tensor)
        return upcast(tensor) if window is None else window

    def written(self, tensor: Tensor) -> Tensor:
        """The shadow of a tensor that is about to be written, as a window on its own memory."""
        slot = self.slot(tensor)
        if tensor.layout != torch.strided:
            slot.whole = upcast(tensor).clone() if slot.whole is None else slot.whole
            return slot.whole
        if slot.flat is None or slot.whole is not None:
            slot.flat, slot.whole, slot.dtype = upcast(_all_of(tensor)).clone(), None, tensor.dtype
        window = _window(slot, tensor)
        if window is None:
            slot.flat, slot.dtype = upcast(_all_of(tensor)).clone(), tensor.dtype
            window = _window(slot, tensor)
        return window

    def share(self, tensor: Tensor, sources: tuple[int, ...]) -> None:
        """Notes a new result whose lanes cannot differ, or whose shadow is lost."""
        self._enter(tensor, sources)

    def adopt(self, tensor: Tensor, shadow: Tensor, sources: tuple[int, ...]) -> None:
        """Notes a new result together with its shadow."""
        slot = self._enter(tensor, sources)
        shadow = shadow.detach()
        if shadow.dtype != raised(tensor.dtype):
            shadow = shadow.to(raised(tensor.dtype))
        slot.size = shadow.numel() * shadow.element_size()
        self._fresh_bytes += slot.size
        if shadow.device.type == "cpu":
            self._host.made(slot.size)
        if tensor.layout != torch.strided or shadow.shape != tensor.shape:
            slot.whole = shadow
        elif _same_layout(tensor, shadow):
            slot.flat = _all_of(shadow)
        else:
            slot.flat = _all_of(tensor).new_empty(_length(tensor), dtype=shadow.dtype)
            window = _window(slot, tensor)
            assert window is not None
            window.copy_(shadow)

    def forget(self, tensor: Tensor) -> None:
        """Gives up the shadow of a tensor: from here on it is the computed value."""
        slot = self.slot(tensor)
        slot.flat = slot.whole = None

    def clear(self) -> None:
        """Lets every shadow go."""
        self._slots.clear()
        self._sparse.clear()

    def _enter(self, tensor: Tensor, sources: tuple[int, ...]) -> Slot:
        if tensor.layout != torch.strided:
            slot = self._sparse[tensor] = Slot(None, tensor.dtype, sources)
            return slot
        slot = Slot(StorageWeakRef(tensor.untyped_storage()), tensor.dtype, sources)
        self._slots[memory(tensor)] = slot
        self._fresh += 1
        if self._fresh >= PURGE_EVERY or self._fresh_bytes >= self._enough_bytes:
            self._purge()
        return slot

    def _purge(self) -> None:
        self._fresh = self._fresh_bytes = 0
        gone = [key for key, slot in self._slots.items() if slot.reference.expired()]
        for key in gone:
            del self._slots[key]
        living = sum(slot.size for slot in self._slots.values())
        self._enough_bytes = max(PURGE_BYTES, PURGE_SHARE * living)


def memory(tensor: Tensor) -> int:
    """Identifies the memory of a tensor while it lives; a sparse tensor is known by itself."""
    if tensor.layout != torch.strided:
        return id(tensor)
    return tensor.untyped_storage()._cdata  # type: ignore[no-any-return]  # noqa: SLF001 (identity of a storage has no public name)


def covers(tensor: Tensor) -> bool:
    """Whether a tensor is all of its memory, so that writing to it replaces every value."""
    return tensor.layout != torch.strided or bool(tensor.numel() == _length(tensor))


def _length(tensor: Tensor) -> int:
    return int(tensor.untyped_storage().nbytes() // tensor.element_size())


def _all_of(tensor: Tensor) -> Tensor:
    """The whole memory of a tensor as a vector of the same dtype."""
    return tensor.detach().as_strided((_length(tensor),), (1,), 0)


def _same_layout(tensor: Tensor, shadow: Tensor) -> bool:
    return bool(
        shadow.stride() == tensor.stride()
        and shadow.storage_offset() == tensor.storage_offset()
        and _length(shadow) == _length(tensor)
        and shadow.is_conj() == tensor.is_conj()
        and shadow.is_neg() == tensor.is_neg()
    )


def _window(slot: Slot, tensor: Tensor) -> Tensor | None:
    """The part of a slot's shadow that a tensor looks at; None when it reads its bits otherwise."""
    flat = slot.flat
    if flat is None:
        return None
    if slot.dtype != tensor.dtype:
        if flat.dtype != slot.dtype or raised(tensor.dtype) != tensor.dtype:
            return None
        flat = flat.view(tensor.dtype)
    if tensor.storage_offset() + tensor.numel() > flat.numel() and tensor.is_contiguous():
        return None  # The memory was resized.
    window = flat.as_strided(tensor.size(), tensor.stride(), tensor.storage_offset())
    window = window.conj() if tensor.is_conj() else window
    return window._neg_view() if tensor.is_neg() else window  # noqa: SLF001 (the only way to make one)
