"""The tutorial's commands and what they print; `python -m tests.docs.transcript` renews it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.architecture import laws

PAGE = laws.ROOT / "docs" / "tutorial.md"
_BLOCK = re.compile(
    r"(?P<head><!-- run: begin -->\n```console\n\$ (?P<command>.+)\n)(?P<shown>[\s\S]*?)"
    r"(?P<tail>```\n<!-- run: end -->)"
)
_PROGRAMS = {
    "cat": ["cat"],
    "floatline": [sys.executable, "-m", "floatline"],
    "python": [sys.executable],
}
_MEASURED = re.compile(r"(?<![\w:])[-+]?\d[\d,.]*(e[-+]?\d+)?")


def blocks(markdown: str) -> tuple[tuple[str, str], ...]:
    """Each command on a page and what the page shows of its output."""
    return tuple((found["command"], found["shown"]) for found in _BLOCK.finditer(markdown))


def renewed(markdown: str, outputs: Sequence[str]) -> str:
    """The page with other outputs."""
    rest = iter(outputs)
    return _BLOCK.sub(lambda found: found["head"] + next(rest) + found["tail"], markdown)


def words(output: str) -> list[str]:
    r"""What must not differ between machines: everything but measured numbers and line breaks.

    Example:

    >>> words("FL103 at train.py:21,\n loss 0.25 (2^-2)")
    ['FL103', 'at', 'train.py:21,', 'loss', '#', '(#^#)']
    >>> words("at train.py:21") == words("at train.py:22")
    False
    """
    return _MEASURED.sub("#", output).split()


def run(commands: Sequence[str], folder: Path) -> list[str]:
    """Runs the commands one after the other in a folder that has the examples.

    Returns:
        What each one wrote, to standard output and standard error.
    """
    shutil.copytree(laws.ROOT / "examples", folder / "examples")
    return [_run(command, folder) for command in commands]


def _run(command: str, folder: Path) -> str:
    program, *arguments = shlex.split(command)
    done = subprocess.run(
        [*_PROGRAMS[program], *arguments],
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout.rstrip("\n") + "\n"


def _environment() -> dict[str, str]:
    """As on a machine without GPU, with the framework's greetings left away."""
    return {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "",
        "KERAS_BACKEND": "tensorflow",
        "NO_COLOR": "1",
        "PYTHONPATH": str(laws.SOURCE),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # Some processors choose it, and then TensorFlow says so whatever the level.
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        outputs = run([command for command, _ in blocks(text)], Path(folder))
    PAGE.write_text(renewed(text, outputs), encoding="utf-8")
