"""Keeps pytest from importing the scripts, which would train, when it looks for doctests."""

collect_ignore_glob = ["scripts/*"]
