"""Enters sites and has them measured while a traced step runs; decodes it all once at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from floatline.backends.torch.lanes import Tensor
from floatline.backends.torch.pools import Pools
from floatline.records import Statistics
from floatline.tracing.decoding import decode
from floatline.tracing.sites import Description, Ledger
from floatline.tracing.statistics import Pack


class Measures(Protocol):
    """What measures the values of one device."""

    def put(self, site: int, lanes: tuple[Tensor, Tensor, Tensor], dtype: str) -> None:
        """Measures a value with elements: computed, shadow and local lane."""

    def measured(self) -> tuple[list[int], Pack]:
        """The sites that were put in, and their measurements on the host."""


class Recorder:
    """Enters sites into a ledger and measures them.

    Args:
        ledger: Where sites are entered.
        measures: Makes what measures the values of a device.
    """

    def __init__(
        self, ledger: Ledger, measures: Callable[[torch.device], Measures] | None = None
    ) -> None:
        self.ledger = ledger
        self._make = measures or measures_of
        self._measures: dict[torch.device, Measures] = {}
        self._known: dict[int, Statistics] = {}

    def measure(
        self, description: Description, computed: Tensor, shadow: Tensor, local: Tensor
    ) -> int:
        """Enters a site and measures its tensors; returns the site's index."""
        site = self.ledger.add(description)
        if computed.layout != torch.strided:
            explicit = {id(lane): _explicit(lane) for lane in (computed, shadow, local)}
            computed, shadow, local = (explicit[id(lane)] for lane in (computed, shadow, local))
        if computed.numel() == 0:
            self._known[site] = Statistics(0)
            return site
        if computed.device not in self._measures:
            self._measures[computed.device] = self._make(computed.device)
        self._measures[computed.device].put(site, (computed, shadow, local), description.dtype)
        return site

    def enter(self, description: Description, statistics: Statistics) -> int:
        """Enters a site whose measurements are known without looking."""
        site = self.ledger.add(description)
        self._known[site] = statistics
        return site

    def statistics(self) -> list[Statistics]:
        """The measurements of every site, in order; everything is fetched here, at once."""
        measured = dict(self._known)
        for measures in self._measures.values():
            sites, pack = measures.measured()
            measured.update(zip(sites, decode(pack), strict=True))
        return [measured[site] for site in range(len(self.ledger))]


def measures_of(device: torch.device) -> Measures:
    """One pass by a kernel of our own on a GPU that has Triton; else PyTorch's operations."""
    if device.type == "cuda":
        try:
            from floatline.backends.torch.table import Table
        except ImportError:  # Triton is not made for every system.
            return Pools(device)
        return Table(device)
    return Pools(device)


def _explicit(tensor: Tensor) -> Tensor:
    """The values of a tensor; the explicit ones of a sparse tensor."""
    if tensor.layout == torch.strided:
        return tensor
    return tensor.coalesce().values() if tensor.layout == torch.sparse_coo else tensor.to_dense()
