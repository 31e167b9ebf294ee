"""A loop of PyTorch's on a half-precision model, at a fixed loss scale that is far too high."""

import torch
from torch import nn

import floatline

torch.manual_seed(0)
x = torch.rand(256, 16) + 0.5
y = (10.0 * x.mean(dim=1, keepdim=True)).half()
x = x.half()
model = nn.Linear(16, 1).half()
masters = [weight.detach().float() for weight in model.parameters()]
SCALE = 2.0**16


@floatline.training_step
def train_step(inputs, targets):
    loss = nn.functional.mse_loss(model(inputs).float(), targets.float())
    (loss * SCALE).backward()
    with torch.no_grad():
        for master, weight in zip(masters, model.parameters(), strict=True):
            master.sub_(1e-2 * weight.grad.float() / SCALE)
            weight.copy_(master)
            weight.grad = None
    return loss.detach()


for _ in range(5):
    for rows in range(0, 256, 32):
        train_step(x[rows : rows + 32], y[rows : rows + 32])
