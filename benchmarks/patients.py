"""How often is the right cause named? Diagnoses every patient through the command line.

Runs each script of tests/patients in a process of its own, as a user would, compares the JSON with
what is true, and prints a Markdown table with totals.

    python benchmarks/patients.py            all of them
    python benchmarks/patients.py healthy    those whose path contains a word
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.patients.cases import TRUTHS
from tests.patients.truth import Truth

SECONDS = 300
"""Limit for one diagnosis; the longest takes half a minute."""


@dataclass(frozen=True)
class Row:
    """One patient's diagnosis beside the truth; `finding` is the first failure."""

    truth: Truth
    verdict: str
    finding: dict[str, Any]
    seconds: float
    environment: dict[str, str]

    @property
    def detected(self) -> bool:
        """Whether the verdict is true."""
        return self.verdict == self.truth.verdict

    @property
    def located(self) -> bool:
        """Whether the first finding names a true cause, and layer and line where they are known."""
        truth, found = self.truth, self.finding
        if not truth.causes:
            return not found
        return (
            found.get("cause") in truth.causes
            and (not truth.phases or found["phase"] in truth.phases)
            and (not truth.layers or (found["layer"] or "") in truth.layers)
            and (not truth.lines or found["line"] in truth.lines)
        )


def diagnose(truth: Truth) -> Row:
    """Runs the command line on one script."""
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "diagnosis.json"
        command = [sys.executable, "-m", "floatline", "diagnose", "--quiet", "--json", str(result)]
        started = time.monotonic()
        ended = subprocess.run(
            [*command, str(truth.path)],
            capture_output=True,
            text=True,
            env=environment,
            timeout=SECONDS,
            check=False,
        )
        seconds = time.monotonic() - started
        if not result.exists():
            return Row(truth, f"error: {ended.stderr.strip().splitlines()[:1]}", {}, seconds, {})
        diagnosis = json.loads(result.read_text(encoding="utf-8"))
    failures = (f for f in diagnosis["findings"] if f.get("severity", "failure") == "failure")
    first: dict[str, Any] = next(failures, {})
    return Row(truth, diagnosis["verdict"], first, seconds, diagnosis["environment"])


def line_of(row: Row) -> str:
    """A row of the table."""
    truth, found = row.truth, row.finding
    expected = truth.verdict + (f": {' or '.join(truth.causes)}" if truth.causes else "")
    got = row.verdict + (f": {found['cause']}" if found else "")
    place = f"{found['layer'] or '-'}, {found['line'] or '-'}" if found else ""
    wanted = ", ".join(map(str, truth.lines))
    right = "yes" if row.detected and row.located else "**no**"
    cells = (truth.script, expected, got, place, wanted, right, f"{row.seconds:.0f}")
    return f"| {' | '.join(cells)} |"


def share(part: int, whole: int) -> str:
    """A count of a count, with per cent."""
    return f"{part} of {whole}" + (f" ({100 * part / whole:.0f} %)" if whole else "")


def totals(rows: list[Row]) -> list[str]:
    """Detection, origin and false alarms."""
    sick = [row for row in rows if row.truth.verdict == "precision"]
    elsewhere = [row for row in rows if row.truth.verdict == "not-precision"]
    healthy = [row for row in rows if row.truth.verdict == "healthy"]
    unclear = sum(row.verdict == "undecided" for row in healthy)
    alarms = sum(row.verdict in ("precision", "not-precision") for row in healthy)
    blamed = sum(row.verdict == "precision" for row in elsewhere)
    located = sum(row.located for row in sick)
    detected, recognised = (sum(r.detected for r in group) for group in (sick, elsewhere))
    placed = sum(row.located for row in elsewhere)
    return [
        f"- Fails in its own precision only, detected: {share(detected, len(sick))}",
        f"- ... and cause, phase, layer and line right first: {share(located, len(sick))}",
        f"- Fails in float32 too, recognised: {share(recognised, len(elsewhere))}",
        f"- ... and cause and place right first: {share(placed, len(elsewhere))}",
        f"- ... precision wrongly blamed: {share(blamed, len(elsewhere))}",
        f"- Healthy, false alarms: {share(alarms, len(healthy))}",
        f"- Healthy, undecided: {share(unclear, len(healthy))}",
    ]


def main() -> None:
    """Prints the table as the diagnoses are made, then the totals."""
    words = sys.argv[1:]
    chosen = [t for t in TRUTHS if not words or any(word in t.script for word in words)]
    print("| script | true | said | layer, line | marked lines | right | s |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    for truth in chosen:
        rows.append(diagnose(truth))
        print(line_of(rows[-1]), flush=True)
    print()
    print("\n".join(totals(rows)))
    known = next((row.environment for row in rows if row.environment), {})
    print("- " + ", ".join(f"{name} {value}" for name, value in known.items()), end="")
    print(f", {os.cpu_count()} cores, {sum(row.seconds for row in rows):.0f} s in all.")


if __name__ == "__main__":
    main()
