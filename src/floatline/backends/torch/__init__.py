"""PyTorch behind the seam."""
