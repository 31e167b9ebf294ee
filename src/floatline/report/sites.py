"""A trace as rows for JSON: every gradient, its sites, and what they come to in groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from floatline.records import (
    GradientSite,
    NotTraced,
    Site,
    SourceLine,
    Statistics,
    Summary,
    Trace,
    Widened,
)
from floatline.report.places import shown

TELLING_ERROR = 2.0**-7
"""Local error from which a site is listed: 16 roundings of float16, two of bfloat16."""


def trace_rows(trace: Trace, base: Path) -> dict[str, Any]:
    """The trace as it is; `portable` bounds how many sites it has."""
    return {
        "step": trace.step,
        "moment": trace.moment,
        "loss_scale": trace.loss_scale,
        "agrees": trace.agrees,
        "disagreement": trace.disagreement,
        "operations_measured": len(trace.sites) + trace.left_out,
        "operations_moved": trace.moved,
        "operations_not_traced": sum(entry.count for entry in trace.not_traced),
        "not_traced": [_not_traced(entry) for entry in trace.not_traced],
        "notes": trace.notes,
        "rows": trace.rows,
        "widened": [_widened(entry) for entry in trace.widened],
        "losses": trace.losses,
        "gradients": [_gradient(gradient, trace) for gradient in trace.gradients],
        "sites": [_site(site, base) for site in trace.sites],
        "sites_left_out": trace.left_out,
        "summaries": [_summary(summary, base) for summary in trace.summaries],
    }


def is_origin(statistics: Statistics) -> bool:
    """Whether the operation itself lost something, given what it read."""
    return bool(
        statistics.local_saturated
        or statistics.local_flushed
        or statistics.local_nonfinite
        or statistics.mismatched
        or statistics.local_error >= TELLING_ERROR
    )


def is_telling(statistics: Statistics) -> bool:
    """Whether anything at all is out of order here."""
    return bool(
        is_origin(statistics)
        or statistics.nonfinite
        or statistics.shadow_nonfinite
        or statistics.flushed
    )


def _gradient(gradient: GradientSite, trace: Trace) -> dict[str, Any]:
    site = trace.sites[gradient.site]
    statistics = site.statistics
    return {
        "variable": gradient.variable,
        "layer": gradient.layer,
        "site": gradient.site,
        "dtype": site.dtype,
        "count": statistics.count,
        "nonfinite": statistics.nonfinite,
        "shadow_nonfinite": statistics.shadow_nonfinite,
        "flushed": statistics.flushed,
        "flushed_share": statistics.flushed_share,
        "max_abs": statistics.max_abs,
        "min_abs_nonzero": statistics.min_abs_nonzero,
        "error": statistics.error,
    }


def _not_traced(entry: NotTraced) -> dict[str, Any]:
    return {"operation": entry.operation, "count": entry.count, "reason": entry.reason}


def _widened(entry: Widened) -> dict[str, Any]:
    return {"function": entry.function, "dtype": entry.dtype, "count": entry.count}


def _summary(summary: Summary, base: Path) -> dict[str, Any]:
    return {
        "layer": summary.layer,
        "layer_class": summary.layer_class,
        "phase": summary.phase,
        "role": summary.role,
        "dtype": summary.dtype,
        **position(summary.source, base),
        "sites": summary.sites,
        "statistics": _statistics(summary.statistics),
    }


def position(source: SourceLine | None, base: Path, prefix: str = "") -> dict[str, Any]:
    """A line as the keys `file` and `line`."""
    return {
        f"{prefix}file": None if source is None else shown(source.file, base),
        f"{prefix}line": None if source is None else source.line,
    }


def _site(site: Site, base: Path) -> dict[str, Any]:
    place = site.place
    return {
        "index": site.index,
        "layer": place.layer,
        "layer_class": place.layer_class,
        "operation": place.operation,
        "operation_name": place.name,
        "phase": place.phase,
        **position(place.source, base),
        **position(place.library, base, "library_"),
        "role": site.role,
        "dtype": site.dtype,
        "dtype_elsewhere": site.dtype_elsewhere,
        "shape": site.shape,
        "inputs": site.inputs,
        "variable": site.variable,
        "constant": site.constant,
        "origin": is_origin(site.statistics),
        "statistics": _statistics(site.statistics),
    }


def _statistics(statistics: Statistics) -> dict[str, Any]:
    """Counts that are 0 are left out, all but the number of elements."""
    counts = {
        name: getattr(statistics, name)
        for name in (
            "zero",
            "subnormal",
            "inf",
            "nan",
            "shadow_zero",
            "shadow_inf",
            "shadow_nan",
            "saturated",
            "flushed",
            "poisoned",
            "local_saturated",
            "local_flushed",
            "local_nonfinite",
            "mismatched",
        )
    }
    return {
        "count": statistics.count,
        **{name: count for name, count in counts.items() if count},
        "max_abs": statistics.max_abs,
        "min_abs_nonzero": statistics.min_abs_nonzero,
        "computed_max_abs": statistics.computed_max_abs,
        "local_error": statistics.local_error,
        "error": statistics.error,
        "exponents": statistics.exponents,
    }
