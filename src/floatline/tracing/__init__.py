"""Stage 2: run a captured step with a float32 shadow and say what every operation did."""
