"""Diagnoses a script whose files are read otherwise than they stand: `trials.rerun`'s other end."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from floatline.capture.capture import Budget
from floatline.capture.edited import edited
from floatline.errors import FloatlineError
from floatline.headlines import users_line
from floatline.pipeline import diagnose_script
from floatline.remedies.source import casts_at
from floatline.repairs import SourceChange, TrialBudget


def answered(request: dict[str, Any]) -> dict[str, Any]:
    """The verdict and what is proposed, or the error that stood in the way."""
    try:
        diagnosis = diagnose_script(
            request["script"],
            request["arguments"],
            precision=request["precision"],
            budget=Budget(**request["budget"]),
            trials=TrialBudget(trials=0),
            texts=request["texts"],
        )
    except FloatlineError as error:
        place = None if error.__cause__ is None else users_line(error.__cause__)
        with edited(request["texts"]):  # In whose lines it is.
            further = () if place is None else casts_at(place, str(error.__cause__))
        return {"error": error.message.splitlines()[0], "changes": _rows(*further)}
    repair, history = diagnosis.repair, diagnosis.evidence.history
    return {
        "verdict": diagnosis.verdict,
        "explanation": diagnosis.explanation,
        "steps": len(history.steps),
        "losses": [step.loss for step in history.steps],
        "ended": history.stopped == "end of training",
        "changes": _rows(*(repair.changes if repair else ())),
    }


def _rows(*changes: SourceChange) -> list[dict[str, Any]]:
    return [dataclasses.asdict(change) for change in changes]


def main(request_file: str) -> None:
    """Answers the request in a file into the file that it names."""
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    reply = Path(request["reply"])
    reply.write_text(json.dumps(answered(request)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
