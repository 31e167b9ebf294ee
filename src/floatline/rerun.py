"""Diagnoses a script whose files are read otherwise than they stand: `trials.rerun`'s other end."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from floatline.capture.capture import Budget
from floatline.errors import FloatlineError
from floatline.pipeline import diagnose_script
from floatline.repairs import TrialBudget


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
        return {"error": str(error).partition("\n")[0]}
    repair = diagnosis.repair
    return {
        "verdict": diagnosis.verdict,
        "explanation": diagnosis.explanation,
        "steps": len(diagnosis.evidence.history.steps),
        "changes": [dataclasses.asdict(change) for change in repair.changes] if repair else [],
    }


def main(request_file: str) -> None:
    """Answers the request in a file into the file that it names."""
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    reply = Path(request["reply"])
    reply.write_text(json.dumps(answered(request)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
