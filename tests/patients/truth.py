"""What is true of every patient: its verdict, and the cause, phase and layer to be named first.

Each script in `scripts/` trains a small model as a user would write it. The folder says what
happens to it: `precision/` trains in float32 and fails (or is at risk) in its own precision,
`healthy/` trains as it stands, however suspicious it looks, and `float32/` fails in every
precision. The line to be named carries the comment `# <- culprit`; several lines may carry it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(__file__).parent / "scripts"
MARK = "# <- culprit"


@dataclass(frozen=True, slots=True)
class Truth:
    """Ground truth of one script.

    Attributes:
        script: Path below `scripts/`, without its suffix.
        causes: Root causes that may be named first; none for a healthy script.
        phases: Phases in which the first finding may arise; none when it does not matter.
        layers: Layers that the first finding may name; none when it does not matter. The empty
            name stands for no layer: a loss, or an optimizer.
        quick: Whether the script is one of the few that every test run examines.
    """

    script: str
    causes: tuple[str, ...] = ()
    phases: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    quick: bool = False

    @property
    def path(self) -> Path:
        """The script."""
        return SCRIPTS / f"{self.script}.py"

    @property
    def verdict(self) -> str:
        """The verdict that is true."""
        folder = self.script.partition("/")[0]
        return {"healthy": "healthy", "float32": "not-precision"}.get(folder, "precision")

    @property
    def lines(self) -> tuple[int, ...]:
        """Lines of the script that are marked as the culprit, counted from 1."""
        text = self.path.read_text(encoding="utf-8")
        return tuple(n for n, line in enumerate(text.splitlines(), 1) if MARK in line)
