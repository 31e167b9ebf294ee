"""Shows examples in docstrings as such: Griffe expects them indented, Keras' form is not."""

from __future__ import annotations

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^Example:\n\n((?:.+\n?)+(?:\n>>> (?:.+\n?)+)*)", re.M)


def with_examples_indented(text: str) -> str:
    r"""The docstring with its example as a section.

    Example:

    >>> with_examples_indented("One.\n\nExample:\n\n>>> 1 + 1\n2\n")
    'One.\n\nExamples:\n    >>> 1 + 1\n    2\n'
    """
    return _EXAMPLE.sub(lambda found: "Examples:\n" + _indented(found[1]), text)


def _indented(text: str) -> str:
    return "".join(f"    {line}" if line.strip() else line for line in text.splitlines(True))


class Examples(griffe.Extension):
    """Passes every docstring through `with_examples_indented`."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:  # noqa: ARG002 (the caller's form)
        """Called by Griffe for each object that it has read."""
        if obj.docstring is not None:
            obj.docstring.value = with_examples_indented(obj.docstring.value)
