"""What counts as the loss of a step, and as the gradients that its optimizer is handed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from floatline.backends.torch.observer import Observed, Observer

Step = Callable[[torch.nn.Parameter], None]


def seen(step: Step) -> Observed:
    """What an observer notes of a step that trains one weight, which is 2."""
    weight = torch.nn.Parameter(torch.tensor(2.0))
    with Observer(torch.Tensor.item, torch.Tensor.item) as observed:
        step(weight)
    return observed


def solves_an_equation(weight: torch.nn.Parameter) -> None:
    """The batch is a leaf that gradients are asked of; the loss is made of them."""
    x = torch.tensor(5.0, requires_grad=True)
    (slope,) = torch.autograd.grad(weight * x**2, x, create_graph=True)
    (slope - 1).square().backward()


def penalizes_without_backward(weight: torch.nn.Parameter) -> None:
    (inner,) = torch.autograd.grad(weight**3, weight, create_graph=True)
    torch.autograd.grad(inner - 1, weight)


def disturbs_its_batch(weight: torch.nn.Parameter) -> None:
    x = torch.tensor(5.0, requires_grad=True)
    (slope,) = torch.autograd.grad(weight * x, x)
    (weight * (x + slope).detach()).backward()


def only_asks(weight: torch.nn.Parameter) -> None:
    torch.autograd.grad(weight * 3, weight, create_graph=True)


@pytest.mark.parametrize(
    ("step", "loss"),
    [
        (solves_an_equation, (2 * 2 * 5 - 1) ** 2),
        (penalizes_without_backward, 3 * 2**2 - 1),
        (disturbs_its_batch, 2 * (5 + 2)),
        (only_asks, 6),
    ],
)
def test_the_loss_is_what_the_weights_are_trained_by(step: Step, loss: float) -> None:
    """By hand; a value that is differentiated on the way is none."""
    assert seen(step).loss_notes == [loss]


@pytest.mark.parametrize("named", [False, True])
def test_a_closure_belongs_to_the_step_and_its_gradients_are_handed_over(named: bool) -> None:
    weight = torch.nn.Parameter(torch.tensor(2.0))
    weight.grad = torch.tensor(99.0)  # Of the step before.
    optimizer = torch.optim.LBFGS([weight], lr=0.5, max_iter=1)
    observer = Observer(torch.Tensor.item, torch.Tensor.item)
    updating = []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        updating.append(observer.updating)
        loss = weight.square()
        loss.backward()
        return loss

    with observer as observed:
        returned = optimizer.step(closure=closure) if named else optimizer.step(closure)
    assert returned == 4.0
    assert updating == [False]
    assert [gradient for _, gradient in observed.handed_over] == [4.0]
    assert not observer.updating
