"""A PyTorch training step with autocast and a gradient scaler; the mark is all that it needs."""

import torch

import floatline

torch.manual_seed(7)

x = torch.rand(256, 10)
y = (x.sum(1, keepdim=True) > 5).float()
model = torch.nn.Sequential(torch.nn.Linear(10, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters(), 1e-2)
device = "cuda" if torch.cuda.is_available() else "cpu"
scaler = torch.amp.GradScaler(device)
model.to(device)


@floatline.training_step
def training_step(inputs, targets):
    optimizer.zero_grad()
    with torch.autocast(device, torch.float16):
        logits = model(inputs)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), targets)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    return loss.detach()


for _epoch in range(10):
    for rows in torch.randperm(256).split(32):
        loss = training_step(x[rows].to(device), y[rows].to(device))
print(f"loss {float(loss):.3f}")
