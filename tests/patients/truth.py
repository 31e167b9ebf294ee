"""What is true of every patient: its verdict, and the cause, phase and layer to be named first.

Each script in `scripts/` trains a small model as a user would write it. The folder says what
happens to it: `precision/` trains in float32 and fails (or is at risk) in its own precision,
`healthy/` trains as it stands, however suspicious it looks, and `float32/` fails in every
precision. The line to be named carries the comment `# <- culprit`; several lines may carry it.
Where a framework really computes otherwise, `# <- culprit on jax` marks another line, and
`Elsewhere` says what is true.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

SCRIPTS = Path(__file__).parent / "scripts"
MARK = "# <- culprit"


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What is true of a script on backends that compute something else than the others.

    Attributes:
        backends: Names of the backends.
        reason: What they do otherwise, seen in a plain training or in Keras' source.
        verdict: What is true there, `"healthy"` when it trains as well as in float32; None where
            it is the same.
        causes: Root causes that may be named first there; None for those that are true elsewhere.
        layers: Likewise layers.
    """

    backends: tuple[str, ...]
    reason: str
    verdict: str | None = None
    causes: tuple[str, ...] | None = None
    layers: tuple[str, ...] | None = None


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
        elsewhere: What is true instead on backends that really differ.
        backend: The backend of which it is true; empty as long as none is chosen.
    """

    script: str
    causes: tuple[str, ...] = ()
    phases: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    quick: bool = False
    elsewhere: tuple[Elsewhere, ...] = ()
    backend: str = ""

    def on(self, backend: str) -> Truth:
        """What is true on one backend."""
        own = next((other for other in self.elsewhere if backend in other.backends), None)
        here = replace(self, backend=backend, elsewhere=(own,) if own else ())
        if own is None:
            return here
        if own.verdict == "healthy":
            return replace(here, causes=(), phases=(), layers=())
        return replace(
            here,
            causes=self.causes if own.causes is None else own.causes,
            phases=self.phases if own.verdict is None else (),
            layers=self.layers if own.layers is None else own.layers,
        )

    @property
    def path(self) -> Path:
        """The script."""
        return SCRIPTS / f"{self.script}.py"

    @property
    def backends(self) -> tuple[str, ...]:
        """The Keras backends on which the script can run: it may import one framework itself."""
        text = self.path.read_text(encoding="utf-8")
        own = {"tensorflow": "import tensorflow", "jax": "import jax", "torch": "import torch"}
        return tuple(name for name, line in own.items() if line in text) or tuple(own)

    @property
    def verdict(self) -> str:
        """The verdict that is true."""
        if self._here is not None and self._here.verdict is not None:
            return self._here.verdict
        folder = self.script.partition("/")[0]
        return {"healthy": "healthy", "float32": "not-precision"}.get(folder, "precision")

    @property
    def lines(self) -> tuple[int, ...]:
        """Lines of the script that are marked as the culprit, counted from 1."""
        if self.verdict == "healthy":
            return ()
        return self._marked(f"{MARK} on {self.backend}") or self._marked(MARK)

    def _marked(self, mark: str) -> tuple[int, ...]:
        text = self.path.read_text(encoding="utf-8")
        lines = enumerate(text.splitlines(), 1)
        return tuple(number for number, line in lines if line.rstrip().endswith(mark))

    @property
    def _here(self) -> Elsewhere | None:
        """The difference of the chosen backend, the only one that is left after the choice."""
        return self.elsewhere[0] if self.backend and self.elsewhere else None
