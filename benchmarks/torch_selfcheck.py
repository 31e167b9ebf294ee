"""Checks on this machine, GPU or not, that PyTorch's traced step is the step itself.

A transformer block and a convolution, each with autocast and a gradient scaler: the traced step
must give every weight the bits that the untraced one gives, its shadow the loss that float32
gives, and leave the weights as they were. Prints a Markdown table; exits with 1 when one fails.

    KERAS_BACKEND=torch python benchmarks/torch_selfcheck.py
"""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from torch import nn

from floatline.backends.torch import TorchBackend
from floatline.capture.configuration import no_sources

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Attending(nn.Module):
    """A causal transformer block."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, batch_first=True)
        self.out = nn.Linear(width, 8)

    def forward(self, inputs: Any) -> Any:
        """Scores of the last token."""
        return self.out(self.block(inputs)[:, -1])


class Fused(nn.Module):
    """Attention by PyTorch's own function, which has a kernel per device."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(width, 3 * width), nn.Linear(width, 8)

    def forward(self, inputs: Any) -> Any:
        """Scores of the last token."""
        parts = self.into(inputs).unflatten(-1, (3, 4, -1)).movedim(-2, 1).unbind(-2)
        attended = nn.functional.scaled_dot_product_attention(*parts, is_causal=True)
        return self.out(attended.movedim(1, 2).flatten(2)[:, -1])


def convolution() -> nn.Module:
    """Convolution, batch normalization and a classifier."""
    layers = nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(16 * 36, 8))


def check(name: str, model: nn.Module, inputs: Any, optimizer: Any) -> bool:
    """Prints a row; returns whether everything holds."""
    model, inputs = model.to(DEVICE), inputs.to(DEVICE)
    targets = torch.randint(0, 8, (inputs.shape[0],), device=DEVICE)
    updates, scaler = optimizer(model.parameters()), torch.amp.GradScaler(DEVICE)

    def step(inputs: Any, targets: Any) -> None:
        updates.zero_grad()
        with torch.autocast(DEVICE, torch.float16):
            scores = model(inputs)
        loss = nn.functional.cross_entropy(scores.float(), targets)
        scaler.scale(loss).backward()
        scaler.step(updates)
        scaler.update()

    user, batch = TorchBackend().function_step(step, no_sources), (inputs, targets)
    user.run(batch)
    state, before = user.snapshot(), user.keeper.named_values()
    started = time.perf_counter()
    user.run(batch)
    plain, real = time.perf_counter() - started, user.keeper.named_values()
    user.restore(state)
    user.trace(state, batch)
    started = time.perf_counter()
    trace = user.trace(state, batch)
    traced = time.perf_counter() - started
    after, own = user.traced_state(state, batch), user.keeper.named_values()
    shadow = trace.sites[trace.losses[0]].statistics.max_abs
    alone = user.float32(state).advance(batch).loss or 0.0
    same = all(torch.equal(after[key], real[key]) for key in real)
    kept = all(torch.equal(own[key], before[key]) for key in before)
    close = abs(shadow - alone) <= 1e-3 * abs(alone)
    missed = ", ".join(f"{e.operation} ({e.reason})" for e in trace.not_traced) or "nothing"
    print(
        f"| {name} | {same} | {kept} | {shadow:.6f} / {alone:.6f} | {missed} |"
        f" {plain * 1e3:.1f} | {traced * 1e3:.1f} |"
    )
    return same and kept and close


def main() -> int:
    """Prints the table."""
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True, warn_only=True)
    tokens, images = torch.randn(16, 32, 64), torch.randn(16, 8, 8, 8)
    adam = lambda weights: torch.optim.AdamW(weights, 1e-3)  # noqa: E731 (a row of the table)
    fused = lambda weights: torch.optim.Adam(weights, 1e-3, fused=True)  # noqa: E731
    print(f"PyTorch {torch.__version__} on {TorchBackend().device()}\n")
    print(
        "| model | same bits | weights kept | loss: shadow / float32 | not traced | ms | traced |"
    )
    print("|---|---|---|---|---|---|---|")
    rows = [
        check("transformer block", Attending(), tokens, adam),
        check("fused attention", Fused(), tokens, fused),
        check("convolution", convolution(), images, adam),
    ]
    return 0 if all(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
