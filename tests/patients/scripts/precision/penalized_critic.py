"""A critic with a penalty on its slope, under autocast: ten times its square is infinite."""

import torch
from torch import nn

torch.manual_seed(0)
critic = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
with torch.no_grad():
    for parameter in critic.parameters():
        parameter.mul_(30)
optimizer = torch.optim.Adam(critic.parameters(), 1e-4)
scaler = torch.amp.GradScaler("cpu")
real = 2 * torch.rand(512, 64)

for _ in range(120):
    rows, noise = real[torch.randint(0, 512, (32,))], 2 * torch.rand(32, 64)
    optimizer.zero_grad()
    with torch.autocast("cpu", dtype=torch.float16):
        mixed = (0.5 * rows + 0.5 * noise).half().requires_grad_()
        (slope,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
        penalty = ((slope * slope).sum(1).sqrt() - 1).pow(2).mean()
        loss = critic(noise).mean() - critic(rows).mean() + 10 * penalty  # <- culprit
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
