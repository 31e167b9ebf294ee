"""The HTML report: one file that opens offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from floatline.records import Diagnosis
from floatline.report import numbers
from floatline.report.html import curves, line_chart, loss_charts, memory
from floatline.report.html.code import annotated
from floatline.report.html.found import findings
from floatline.report.html.frame import wordless
from floatline.report.html.rows import FORMAT_NAMES, PHASES, chosen_trace, float_line
from floatline.report.html.runtime import templates, vega
from floatline.report.portable import portable
from floatline.report.repair import source_title, what_came
from floatline.report.terminal import headline_text
from floatline.report.training import facts, not_traced, traced


def page(diagnosis: Diagnosis, base: Path | None = None) -> str:
    """The whole report as the text of an HTML file.

    Args:
        diagnosis: The whole answer.
        base: Files below this folder are named relative to it; the working folder if None.
    """
    base = base or Path.cwd()
    kept = portable(diagnosis, base)
    return (
        templates()
        .get_template("page.html.j2")
        .render(
            diagnosis=kept,
            headline=headline_text(kept),
            facts=facts(kept, base),
            failures=findings(kept, "failure"),
            advice=findings(kept, "advice"),
            phases=PHASES,
            format_names=FORMAT_NAMES,
            vega=vega(),
            numbers=numbers,
            source_title=source_title,
            what_came=what_came,
            data=_data(kept),
            **_sections(kept),
        )
    )


def _sections(diagnosis: Diagnosis) -> dict[str, Any]:
    traces = diagnosis.evidence.traces
    shown = traces[chosen_trace(diagnosis)] if traces else None
    repair = diagnosis.repair
    clear = [check for check in diagnosis.checks if check.verdict == "clear"]
    unknown = [check for check in diagnosis.checks if check.verdict == "cannot tell"]
    return {
        "shown": shown,
        "code": annotated(diagnosis, shown),
        "memory": memory.table(diagnosis.evidence.configuration, shown),
        "traced": [row for trace in traces for row in traced(trace)],
        "missed": not_traced(traces),
        "clear": clear,
        "unknown": unknown,
        "plan": None if repair is None or repair.plan is None else repair.plan.to_json(),
    }


def _data(diagnosis: Diagnosis) -> dict[str, Any]:
    """What the page's script draws."""
    repair = diagnosis.repair
    line = float_line(diagnosis)
    drawings = {
        "line": line_chart.float_line(line["domain"]),
        "scales": loss_charts.scale_losses(line["scales"]),
        "linear": loss_charts.curves("linear"),
        "log": loss_charts.curves("log"),
    }
    return {
        "line": line,
        "training": curves.training(diagnosis),
        "scale": curves.scales(diagnosis),
        "trials": [curves.trial(one, diagnosis) for one in repair.trials] if repair else [],
        "specs": {name: wordless(spec) for name, spec in drawings.items()},
    }


def data_of(text: str) -> dict[str, Any]:
    """The data that a page embeds, for whoever wants to read it back."""
    _, _, after = text.partition('<script type="application/json" id="data">')
    found: dict[str, Any] = json.loads(after.partition("</script>")[0])
    return found
