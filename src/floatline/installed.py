"""Which version of Floatline this is."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """The installed version, or that there is none: Floatline runs from its source as well."""
    try:
        return metadata.version("floatline")
    except metadata.PackageNotFoundError:
        return "(not installed: run from its source)"
