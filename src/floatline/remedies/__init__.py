"""Stage 4: what could cure the training, as plans; proposed, not applied."""
