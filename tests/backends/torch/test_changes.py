"""How far an optimizer would move weights in 16 bits is measured, whatever operation adds it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from floatline.findings.still import lost_updates
from floatline.records import Trace
from tests.backends.torch.traced import trace_of

BUILD = {
    "SGD": lambda weights, rate, many: torch.optim.SGD(weights, rate, foreach=many),
    "Adam": lambda weights, rate, many: torch.optim.Adam(weights, rate, foreach=many),
}


def trained(name: str, rate: float, *, many: bool = False, dtype: Any = torch.bfloat16) -> Trace:
    """One update of weights around 1."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 4).to(dtype)
    for weight in layer.parameters():
        torch.nn.init.uniform_(weight, 0.9, 1.1)
    optimizer = BUILD[name](layer.parameters(), rate, many)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = layer(x.to(dtype)).float().square().mean()
        loss.backward()
        optimizer.step()
        return loss

    return trace_of(step, torch.randn(8, 4))


@pytest.mark.parametrize("name", sorted(BUILD))
@pytest.mark.parametrize("many", [False, True])
def test_a_rate_below_the_last_digit_holds_weights_still(name: str, many: bool) -> None:
    lost = lost_updates(trained(name, 1e-5, many=many))
    assert {site.variable for site, _ in lost} == {"weight", "bias"}


@pytest.mark.parametrize("name", sorted(BUILD))
@pytest.mark.parametrize("many", [False, True])
def test_a_rate_above_it_moves_them(name: str, many: bool) -> None:
    assert not lost_updates(trained(name, 0.1, many=many))


def test_the_change_is_that_of_float32() -> None:
    sites = trained("Adam", 1e-5).sites
    changes = [site for site in sites if site.place.operation.endswith("/change")]
    assert [site.statistics.max_abs for site in changes] == pytest.approx([1e-5, 1e-5], rel=0.01)
    assert all(site.statistics.error == 0.0 for site in changes)


def test_weights_in_float32_need_none() -> None:
    sites = trained("Adam", 1e-5, dtype=torch.float32).sites
    assert not [site for site in sites if site.place.operation.endswith("/change")]
