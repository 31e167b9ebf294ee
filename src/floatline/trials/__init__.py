"""Stage 5: short trainings that prove or refute remedies, and the smallest plan that holds."""
