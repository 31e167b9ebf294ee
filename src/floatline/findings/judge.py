"""From evidence to a verdict: runs every rule, puts the root cause first, says what it means."""

from __future__ import annotations

from dataclasses import dataclass

from floatline.findings.advice import in_own_words
from floatline.findings.case import Case, study
from floatline.findings.causes import BACKWARD
from floatline.findings.elsewhere import only_here
from floatline.findings.fixed_scale import fixed_too_high
from floatline.findings.gradients import all_lost
from floatline.findings.graph import decisively_wrong, graph
from floatline.findings.outcome import COMPARABLE_STEPS, SEARCH_STEPS, only_searched
from floatline.findings.rule import CannotTell, Found, Result, Rule
from floatline.findings.rules.fl402_loss_scale_too_high import searched_from_above
from floatline.findings.table import RULES
from floatline.findings.words import number
from floatline.records import (
    Check,
    Configuration,
    Evidence,
    Finding,
    History,
    Phase,
    Trace,
    Verdict,
)

NOT_PRECISION: tuple[str, ...] = ("FL601", "FL604", "FL602", "FL603", "FL605", "FL606")
"""Rules whose root cause fails in every precision, most telling first."""

BESIDE: tuple[str, ...] = ("FL603", "FL605", "FL606")
"""Those of them that a fault of precision comes before, unless float32 is known to fail as well."""

SYMPTOMS: tuple[str, ...] = ("FL401", "FL403", "FL402")
"""Rules that show what another root cause does to the loss scale; listed after it. One that names
a line has found the cause itself."""

CONSEQUENCES: tuple[str, ...] = ("FL202", "FL201", "FL502")
"""Rules that are listed after an overflow or lost digits, which can bring them about."""

LONGER = "Steps were too few to compare: watch for longer (--seconds)."

NAMELESS = "Float32 trains, but no rule can name the cause."

_MISUSE = "The updates are too small by the loss scale, with this optimizer in float32 as well."

_PHASES: tuple[Phase, ...] = ("forward", "backward", "update", "configuration")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the findings stage concludes.

    Attributes:
        verdict: Healthy, precision, not-precision or undecided.
        explanation: The verdict in one or two sentences.
        findings: Most likely root cause first, advice last.
        checks: What every rule said, in id order.
    """

    verdict: Verdict
    explanation: str
    findings: tuple[Finding, ...]
    checks: tuple[Check, ...]


def judge(evidence: Evidence, backend: str | None = None) -> Judgement:
    """Runs every rule on the evidence and draws the conclusion.

    Args:
        evidence: What was measured.
        backend: Name of the framework, which decides what can be advised.

    Example:

    >>> from floatline.records import StepRecord
    >>> history = History(tuple(StepRecord(i, 1.0 / (i + 1)) for i in range(40)))
    >>> judge(Evidence(Configuration("float32"), history)).verdict
    'healthy'
    """
    case = study(evidence, backend)
    results = tuple((rule, rule.check(case)) for rule in RULES)
    findings = [f for _, result in results if isinstance(result, Found) for f in result.findings]
    findings = _without_duplicates(case, sorted(findings, key=lambda f: _order(case, f)))
    findings = [in_own_words(case, finding) for finding in findings]
    missing = {rule: r.missing for rule, r in results if isinstance(r, CannotTell)}
    verdict = _verdict(case, findings, bool(missing))
    return Judgement(
        verdict=verdict,
        explanation=_explanation(case, verdict, findings, missing),
        findings=tuple(findings),
        checks=tuple(_check(rule, result, findings) for rule, result in results),
    )


def explained(judgement: Judgement, evidence: Evidence) -> bool:
    """Whether the error that ended a training only was the end of a fault of its numbers.

    Then a rule names one, and the step that raised had something non-finite in hand.
    """
    named = any(finding.severity == "failure" for finding in judgement.findings)
    views = (graph(trace) for trace in evidence.traces[-1:])
    held = (view.trace.sites[index] for view in views for index in view.ends)
    return named and any(site.statistics.nonfinite for site in held)


def needs_reference(
    configuration: Configuration, history: History, traces: tuple[Trace, ...]
) -> bool:
    """Whether float32 must be run beside the training before anything can be concluded.

    Example:

    >>> needs_reference(Configuration("float32"), History(()), ())
    False
    """
    case = study(Evidence(configuration, history, traces))
    state = case.outcome
    return (
        state.broken
        or state.diverged
        or bool(case.silent)
        or (state.searching and bool(case.loud))
        or any(origin.forward for origin in case.loud)
        or _loss_strays(case)
        or any(rule.asks_float32(case) for rule in RULES)
    )


def _loss_strays(case: Case) -> bool:
    """Whether the loss of the first step is decisively wrong, whatever rule may say why."""
    traces = (t for t in case.evidence.traces if t.step == 0 and t.agrees is not False)
    return any(decisively_wrong(trace.sites[i]) for trace in traces for i in trace.losses)


def _order(case: Case, finding: Finding) -> tuple[int, int, int, int]:
    """Sorts by what is most likely the root: group, phase, step and position in the step."""
    if finding.severity == "advice":
        group = 5
    elif finding.rule in NOT_PRECISION:
        group = 0 if case.outcome.float32_fails or finding.rule not in BESIDE else 4
    elif finding.rule in SYMPTOMS and finding.place is None:
        group = 3
    else:
        group = 2 if finding.rule in CONSEQUENCES or _late(finding) else 1
    rank = NOT_PRECISION.index(finding.rule) if finding.rule in NOT_PRECISION else 0
    phase = _PHASES.index(finding.phase)
    return group, rank, phase, _position(case, finding)


def _late(finding: Finding) -> bool:
    """Whether digits were lost after the first step, or behind the loss: others may have begun."""
    return finding.rule == "FL301" and (finding.phase != "forward" or finding.evidence["step"] != 0)


def _position(case: Case, finding: Finding) -> int:
    origins = (*case.loud, *case.silent)
    found = (o.site.index for o in origins if o.rule == finding.rule)
    return next(found, 0)


def _without_duplicates(case: Case, findings: list[Finding]) -> list[Finding]:
    """Drops the overflow that is only that of a scale that was set too high, or searched for."""
    rules = {f.rule for f in findings}
    too_high = "FL402" in rules and (searched_from_above(case) or fixed_too_high(case))
    of_the_data = "FL601" in rules and only_searched(case.evidence)
    if too_high or of_the_data:
        return [f for f in findings if f.phase == "forward" or f.rule not in BACKWARD]
    return findings


def _verdict(case: Case, findings: list[Finding], missing: bool) -> Verdict:
    state = case.outcome
    failures = [finding for finding in findings if finding.severity == "failure"]
    if failures and failures[0].rule in NOT_PRECISION:
        return "not-precision"
    causes = [finding for finding in failures if finding.rule != "FL401"]
    if causes or (state.ends_broken and state.float32_fails is False and not case.disputed):
        return "precision"
    looks_wrong = state.broken or state.diverged or state.worse or state.searching
    return "undecided" if looks_wrong or missing else "healthy"


def _check(rule: Rule, result: Result, findings: list[Finding]) -> Check:
    if isinstance(result, Found) and any(f.rule == rule.id for f in findings):
        return Check(rule.id, "found")
    if isinstance(result, CannotTell):
        return Check(rule.id, "cannot tell", result.missing)
    return Check(rule.id, "clear")


def _explanation(
    case: Case, verdict: Verdict, findings: list[Finding], missing: dict[Rule, str]
) -> str:
    if verdict == "healthy":
        return _healthy(case)
    if verdict == "undecided":
        wanted = "; ".join(dict.fromkeys(missing.values()))
        text = _symptom(case) + (f" To decide, this is missing: {wanted}." if wanted else "")
        if case.outcome.worse and not wanted:
            text += f" {NAMELESS}"
        short = case.outcome.steps < COMPARABLE_STEPS and case.evidence.history.stopped == "budget"
        return f"{text} {LONGER}" if short else text
    first = next((f for f in findings if f.severity == "failure" and f.rule != "FL401"), None)
    if first is None:
        return f"{_symptom(case)} {NAMELESS}"
    if verdict == "not-precision":
        return f"Precision is not the cause ({first.cause}): float32 fails or stalls as well."
    harm = _MISUSE if first.rule == "FL404" else _harm(case)
    return f"{harm} The most likely root cause is {first.cause}."


def _healthy(case: Case) -> str:
    state, configuration = case.outcome, case.evidence.configuration
    # Layers, or PyTorch's autocast, may compute in half precision whatever Keras' policy is.
    decides = configuration.layers and configuration.global_policy != "float32"
    precision = configuration.global_policy if decides else "mixed precision"
    text = f"Nothing is wrong with training in {precision}"
    if not case.computes_low:
        return f"Nothing is computed in half precision in {state.steps} steps."
    if state.skipped:
        text += f"; {state.skipped} of {state.steps} steps skipped {_harmless(case)}"
    if state.comparison:
        text += f"; the loss {number(state.comparison.own)} keeps pace with float32's"
        text += f" {number(state.comparison.reference)}"
    here = only_here(case.evidence.traces)
    return f"{text}, as it computes here. {here}" if here else f"{text}."


def _harmless(case: Case) -> str:
    scale = case.evidence.history.steps[-1].loss_scale
    if case.outcome.skipped <= SEARCH_STEPS or scale is None:
        return "are a normal search for the scale"
    return f"did no harm: the loss scale is {number(scale)} by now"


def _harm(case: Case) -> str:
    state, both = case.outcome, case.outcome.comparison
    if state.worse and both and not state.ends_broken:
        own, reference = number(both.own), number(both.reference)
        return f"Training does worse than float32: the loss is {own} instead of {reference}."
    if state.broken:
        return _symptom(case)
    if all_lost(case.gradients):
        return "Every gradient of the traced steps is 0, and float32's are not."
    return "Training is at risk, although the loss does not show it yet."


def _symptom(case: Case) -> str:
    state, last = case.outcome, case.evidence.history.steps[-1:]
    if last and last[0].raised is not None:
        return f"Step {last[0].step} raised {last[0].raised.rstrip('.')}."
    if state.skipped and (state.ends_broken or state.wasted or state.searching):
        return f"{state.skipped} of {state.steps} steps were skipped."
    if state.nonfinite_losses or state.ends_broken:
        return "Training becomes non-finite."
    if state.diverged:
        return "The loss ends far above where it began."
    if state.worse:
        return "Training does worse than float32."
    return "What was measured does not decide."
