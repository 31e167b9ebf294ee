"""Keeps watch on a training: what it shows, what it warns of, what it keeps of a failure."""
