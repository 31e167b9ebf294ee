"""FL601: non-finite-data."""

from __future__ import annotations

from typing import final

from floatline.findings.case import Case
from floatline.findings.graph import Graph, graph
from floatline.findings.origin_rule import harm
from floatline.findings.rule import Clear, Result, Rule
from floatline.records import Site


@final
class NonFiniteData(Rule):
    """A batch contains NaN or infinity.

    What it means:
        The data themselves are not finite: missing values, a division in the preprocessing,
        a file that was read wrongly. No precision helps.

    Evidence:
        A batch tensor with NaN or infinite elements that reach the loss or a gradient.

    Why it matters:
        One such batch makes the loss NaN; without a loss scale the weights are lost with it.

    Remedy:
        Clean the data, or mask them before they enter the model.

    When it is harmless:
        When the elements are masked away before training sees them.

    References:
        - IEEE 754-2019, section 6: operations on infinities and NaN.
    """

    id = "FL601"
    cause = "non-finite-data"
    phase = "forward"
    remedies = (
        "Remove or replace the NaN and infinite values of this batch tensor.",
        "Mask missing values with where before they enter the model.",
    )

    def check(self, case: Case) -> Result:
        """Looks at the batch tensors of every traced step."""
        for trace in case.evidence.traces:
            view = graph(trace)
            for site in trace.sites:
                numbers = site.statistics
                if site.role == "input" and numbers.shadow_nonfinite and _reaches(view, site):
                    summary = (
                        f"The batch of step {trace.step} has {numbers.shadow_nan} NaN and"
                        f" {numbers.shadow_inf} infinite values of {numbers.count} in"
                        f" '{site.variable or site.place.name}'"
                    )
                    found = {"nan": numbers.shadow_nan, "inf": numbers.shadow_inf}
                    evidence = {"step": trace.step, "elements": numbers.count, **found}
                    return self.found(summary, {**evidence, **harm(case)}, place=site.place)
        return Clear()


def _reaches(view: Graph, site: Site) -> bool:
    ahead = view.descendants(site, through=lambda s: s.statistics.shadow_nonfinite > 0)
    return bool({s.index for s in ahead} & view.ends)
