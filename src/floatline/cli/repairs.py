"""The files of a repair, a plan and a patch beside it, and the commands that use them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from floatline import files
from floatline.repairs import Repair
from floatline.trials.editing import root_of


def write(repair: Repair, target: Path) -> None:
    """Writes what there is of a repair.

    Args:
        repair: The repair.
        target: File of the plan; the patch's name is this and `.patch`.
    """
    if repair.plan is not None:
        files.write(target, repair.plan.to_json())
    if repair.patch is not None:
        files.write(_patch(target), repair.patch)


def uses(repair: Repair, target: Path, script: str | None, base: Path) -> Iterator[str]:
    """The command that uses each file that was written, in the folder `base`."""
    if repair.plan is not None:
        named = shlex.join([_shown(target, base), *([] if script is None else [script])])
        yield f"floatline run --plan {named}"
    if repair.patch is not None:
        root = root_of((change.file for change in repair.changes), base)
        move = "" if root == base else f"cd {shlex.quote(os.path.relpath(root, base))} && "
        yield f"{move}git apply {shlex.quote(_shown(_patch(target), root))}"


def _patch(target: Path) -> Path:
    return target.with_name(f"{target.name}.patch")


def _shown(file: Path, folder: Path) -> str:
    return str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file)
