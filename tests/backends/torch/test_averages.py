"""A moving average that is copied into its tensor is followed like one that is added up there."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from floatline.findings.averages import still_averages
from floatline.records import Trace
from tests.backends.torch.traced import Traced, trace_of


def following(share: float, dtype: Any) -> Trace:
    """A step whose target network follows the trained one by copies."""
    torch.manual_seed(0)
    trained, target = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4).to(dtype)
    for weight in target.parameters():
        torch.nn.init.constant_(weight, 1.0)
    optimizer = torch.optim.SGD(trained.parameters(), 0.1)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = ((trained(x) - target(x.to(dtype)).float()) ** 2).mean()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for old, new in zip(target.parameters(), trained.parameters(), strict=True):
                old.copy_((1 - share) * old + share * new.to(dtype))
        return loss

    return trace_of(step, torch.randn(8, 4))


@pytest.mark.parametrize(
    ("share", "dtype", "still"),
    [(1e-3, torch.bfloat16, True), (0.1, torch.bfloat16, False), (1e-3, torch.float32, False)],
)
def test_it_stands_still_below_the_last_digit(share: float, dtype: Any, still: bool) -> None:
    found = {average.site.variable for average in still_averages(following(share, dtype))}
    assert found == ({"target.weight", "target.bias"} if still else set())


@pytest.mark.parametrize(("known", "written"), [(True, ["copy_"]), (False, [])])
def test_only_what_a_variable_is_set_to_is_told(known: bool, written: list[str]) -> None:
    old, new = torch.ones(3, dtype=torch.float16), torch.full((3,), 2.0, dtype=torch.float16)
    names = {old.untyped_storage()._cdata: "old"} if known else {}
    traced = Traced(lambda: old.copy_(new), names)
    assert [site.place.operation for site in traced.sites if site.role == "value"] == written
