"""Deep sigmoids under autocast in a loop of PyTorch's that scales no loss."""

import itertools

import torch
from torch import nn

import floatline

torch.manual_seed(0)
x = torch.rand(256, 16)
y = torch.rand(256, 1)
widths = [16] + [32] * 8
hidden = [
    part
    for before, after in itertools.pairwise(widths)
    for part in (nn.Linear(before, after), nn.Sigmoid())
]
model = nn.Sequential(*hidden, nn.Linear(32, 1))
optimizer = torch.optim.SGD(model.parameters(), 1e-2)


@floatline.training_step
def train_step(inputs, targets):
    optimizer.zero_grad()
    with torch.autocast("cpu", torch.float16):
        outputs = model(inputs)
    loss = nn.functional.mse_loss(outputs.float(), targets)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.detach()


for _ in range(5):
    for rows in range(0, 256, 32):
        train_step(x[rows : rows + 32], y[rows : rows + 32])
