"""A trace as rows for JSON: every gradient, and the sites that have something to tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from floatline.records import GradientSite, Site, Statistics, Trace
from floatline.report.places import shown

MAX_SITES = 400
"""Sites listed per trace. One takes about 600 bytes; a deep transformer has 15,000 of them."""

TELLING_ERROR = 2.0**-7
"""Local error from which a site is listed: 16 roundings of float16, two of bfloat16."""


def trace_rows(trace: Trace, base: Path) -> dict[str, Any]:
    """The trace with the sites worth reading, and how many of those had no room."""
    chosen, left_out = chosen_sites(trace)
    return {
        "step": trace.step,
        "moment": trace.moment,
        "loss_scale": trace.loss_scale,
        "agrees": trace.agrees,
        "disagreement": trace.disagreement,
        "operations_measured": len(trace.sites),
        "operations_moved": trace.moved,
        "operations_not_traced": sum(entry.count for entry in trace.not_traced),
        "gradients": [_gradient(gradient, trace) for gradient in trace.gradients],
        "sites": [_site(site, base) for site in chosen],
        "sites_left_out": left_out,
    }


def chosen_sites(trace: Trace, limit: int = MAX_SITES) -> tuple[tuple[Site, ...], int]:
    """The sites to list, in execution order, and how many were left out for want of room.

    Where a fault begins comes before where it only passes through.
    """
    telling = [site for site in trace.sites if is_telling(site.statistics)]
    ranked = sorted(telling, key=lambda site: (not is_origin(site.statistics), site.index))
    chosen = sorted(ranked[:limit], key=lambda site: site.index)
    return tuple(chosen), len(telling) - len(chosen)


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


def _site(site: Site, base: Path) -> dict[str, Any]:
    place, source, library = site.place, site.place.source, site.place.library
    return {
        "index": site.index,
        "layer": place.layer,
        "operation": place.operation,
        "operation_name": place.name,
        "phase": place.phase,
        "file": None if source is None else shown(source.file, base),
        "line": None if source is None else source.line,
        "library_file": None if library is None else shown(library.file, base),
        "library_line": None if library is None else library.line,
        "role": site.role,
        "dtype": site.dtype,
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
