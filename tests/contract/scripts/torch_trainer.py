"""Deep sigmoids under autocast, trained by an object that keeps an optimizer, scaling no loss."""

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


class Trainer:
    """Trains a model."""

    def __init__(self, model):
        self.model = model
        self.optimizer = torch.optim.SGD(model.parameters(), 1e-2)

    @floatline.training_step
    def train_step(self, inputs, targets):
        self.optimizer.zero_grad()
        with torch.autocast("cpu", torch.float16):
            outputs = self.model(inputs)
        loss = nn.functional.mse_loss(outputs.float(), targets)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


trainer = Trainer(nn.Sequential(*hidden, nn.Linear(32, 1)))
for _ in range(5):
    for rows in range(0, 256, 32):
        trainer.train_step(x[rows : rows + 32], y[rows : rows + 32])
