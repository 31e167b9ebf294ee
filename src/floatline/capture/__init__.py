"""Stage 1: runs the user's own training under a light watch and keeps the steps worth tracing."""
