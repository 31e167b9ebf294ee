"""Scores as Markdown: a row for every rate, and a row for every script."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.zoo.runs import Run
from benchmarks.zoo.scores import Score, scored
from benchmarks.zoo.tools import TOOLS, Tool
from tests.patients.truth import Truth


def report(runs: Iterable[Run], truths: Mapping[str, Truth]) -> str:
    """Every table, one below the other."""
    scores = [scored(run, truths[run.script]) for run in runs]
    tools = [tool for tool in TOOLS if any(score.run.tool == tool.name for score in scores)]
    own = [score for score in scores if score.run.tool == "floatline"]
    names = [tool.name for tool in tools]
    common = _common(scores, names)
    lines = _rate_table(tools, scores)
    if len(common) < len(scores):
        every = len(common) // max(1, len(names))
        title = f"The same on the scripts that every tool was run on, {every} in number:"
        lines += ["", title, "", *_rate_table(tools, common)]
    lines += ["", *_repairs(own), "", *_cost(own), "", *_environment(own), ""]
    return "\n".join([*lines, *_scripts(scores, names)]) + "\n"


def _common(scores: Sequence[Score], tools: Sequence[str]) -> list[Score]:
    """The scores of scripts that every tool was run on."""
    by_script: dict[str, list[Score]] = {}
    for score in scores:
        by_script.setdefault(score.truth.script, []).append(score)
    return [score for group in by_script.values() if len(group) == len(tools) for score in group]


def _rate_table(tools: Sequence[Tool], scores: Sequence[Score]) -> list[str]:
    lines = ["| tool | " + " | ".join(_RATES) + " |", "|---" * (len(_RATES) + 1) + "|"]
    for tool in tools:
        mine = [score for score in scores if score.run.tool == tool.name]
        if mine:
            lines.append(f"| {tool.title} | {' | '.join(_rates(mine))} |")
    return lines


_RATES = (
    "fails in its precision only: alarm",
    "root cause right",
    "place right",
    "fails in float32 too: alarm",
    "precision blamed",
    "healthy: false alarms",
    "median s",
)


def _rates(scores: Sequence[Score]) -> list[str]:
    groups = {name: [s for s in scores if s.truth.verdict == name] for name in _VERDICTS}
    sick, elsewhere, healthy = (groups[name] for name in _VERDICTS)
    named = [s.cause for s in sick if s.cause is not None]
    placed = [s.place for s in sick if s.place is not None]
    blames = [s for s in elsewhere if s.verdict is not None]
    return [
        share(sum(s.alarm for s in sick), len(sick)),
        share(sum(named), len(named)),
        share(sum(placed), len(placed)),
        share(sum(s.alarm for s in elsewhere), len(elsewhere)),
        share(sum(_said(s) == "precision" for s in blames), len(blames)),
        share(sum(s.alarm for s in healthy), len(healthy)),
        f"{median(s.run.seconds for s in scores):.0f}",
    ]


_VERDICTS = ("precision", "not-precision", "healthy")


def _said(score: Score) -> str:
    return str(score.run.answer.get("verdict", ""))


def share(part: int, whole: int) -> str:
    """A count of a count, with per cent.

    Example:

    >>> share(1, 4), share(0, 0)
    ('1 of 4 (25 %)', '-')
    """
    return f"{part} of {whole} ({100 * part / whole:.0f} %)" if whole else "-"


def _repairs(own: Sequence[Score]) -> list[str]:
    """How many were repaired, and how small the plans are."""
    if own and all(score.repair is None for score in own):
        return ["- Floatline only diagnosed: no repair was looked for (`--no-repair`)."]
    lines = []
    for verdict, title in (("precision", "its precision only"), ("not-precision", "float32 too")):
        group = [s for s in own if s.truth.verdict == verdict]
        proven = [s.repair for s in group if s.proven and s.repair]
        lines.append(f"- Fails in {title}: repaired, proven: {share(len(proven), len(group))}")
        if not proven:
            continue
        minimal = sum(repair["minimal"] for repair in proven)
        sizes = sorted(len(_parts(repair)) for repair in proven)
        patched = sum(repair["plan"] is None for repair in proven)
        lines.append(f"  - each part of the plan necessary: {share(minimal, len(proven))}")
        lines.append(f"  - parts of a plan: median {median(sizes):g}, at most {sizes[-1]}")
        lines.append(f"  - by changes of the source, where no plan serves: {patched}")
    return lines


def _parts(repair: dict[str, Any]) -> list[str]:
    """What a repair consists of, in words: remedies of a plan, or changed lines of the source."""
    changed = repair["changes"] if repair.get("patch") and repair["plan"] is None else ()
    places = [f"Line {change['line']} of the source." for change in changed]
    return [*(remedy["summary"] for remedy in repair["remedies"]), *places]


def _cost(own: Sequence[Score]) -> list[str]:
    """What a diagnosis with its repair costs, in steps of training and in seconds."""
    answered = [s for s in own if s.run.answer]
    tried = [s for s in answered if (s.repair or {}).get("trials")]
    if not tried:
        return []
    watched = [_watched(s.run.answer) for s in tried]
    steps = [_steps(s.run.answer) for s in tried]
    ratios = [cost / max(1, seen) for cost, seen in zip(steps, watched, strict=True)]
    trials = [len(s.repair["trials"]) for s in tried if s.repair]
    seconds = [s.run.seconds for s in answered]
    return [
        (
            f"- Steps trained for a diagnosis with trials (watch, float32, trials): median "
            f"{median(steps):.0f}, {median(ratios):.1f} times the steps watched"
        ),
        f"- Trials: median {median(trials):g}, at most {max(trials)}",
        (
            f"- Seconds for a script, start and imports included: median {median(seconds):.0f}, "
            f"at most {max(seconds):.0f}, in all {sum(seconds):.0f}"
        ),
    ]


def _watched(answer: dict[str, Any]) -> int:
    return len(answer["history"]["steps"])


def _steps(answer: dict[str, Any]) -> int:
    """Steps trained in all: the user's, in float32, in every trial and of changed scripts."""
    reference = answer["reference"] or {}
    again = sum(len(steps) for steps in reference.values())
    repair = answer["repair"] or {}
    trials = repair.get("trials", ())
    lasted = repair.get("lasting") is not None and repair["plan"] is not None
    longer = trials[-1]["steps"] if lasted else 0
    tried = (*trials, *repair.get("rewrites", ()))
    return _watched(answer) + again + sum(trial["steps"] for trial in tried) + longer


def _environment(own: Sequence[Score]) -> list[str]:
    known: dict[str, Any] = next(
        (s.run.answer["environment"] for s in own if s.run.answer.get("environment")), {}
    )
    words = [f"{name} {value}" for name, value in known.items()]
    revisions = sorted({s.run.revision for s in own})
    return [f"- {', '.join(words)}, {os.cpu_count()} cores, commits {', '.join(revisions)}"]


def _scripts(scores: Sequence[Score], tools: Sequence[str]) -> list[str]:
    """A row for every script: what Floatline said and repaired, what the others said."""
    others = [name for name in tools if name != "floatline"]
    head = ["script", "true", "Floatline", "right", "repair", "plan", "s", *others]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    table: dict[str, dict[str, Score]] = {}
    for score in scores:
        table.setdefault(score.truth.script, {})[score.run.tool] = score
    for script, row in table.items():
        own, truth = row.get("floatline"), next(iter(row.values())).truth
        expected = truth.verdict + (f": {' or '.join(truth.causes)}" if truth.causes else "")
        cells = [script, expected, *(_own(own) if own else ["-"] * 5)]
        cells += [_other(row[name]) if name in row else "-" for name in others]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _own(score: Score) -> list[str]:
    wrong = {"verdict": score.verdict, "cause": score.cause, "place": score.place}
    errors = [name for name, right in wrong.items() if right is False]
    repair = score.repair or {}
    plan = "; ".join(_parts(repair)) if repair else ""
    state = "-" if not repair else "proven" if score.proven else repair["verdict"]
    if score.truth.verdict == "healthy":
        state, plan = "-", "-"
    right = f"**no**: {', '.join(errors)}" if errors else "yes"
    return [score.said, right, state, plan or "-", f"{score.run.seconds:.0f}"]


def _other(score: Score) -> str:
    return f"{score.said}, place right" if score.alarm and score.place else score.said
