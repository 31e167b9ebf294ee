"""Names operations after the parameters that they read, where no name scope names their layer.

Flax's Linen opens a name scope per module. NNX opens none, Equinox one of the class' name; but an
operation that multiplies by `model/layers/0/weight` belongs to `model/layers/0` all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from floatline.backends.paths import owner_path
from floatline.records import GradientSite, Site

_CASTS = ("convert_element_type", "copy", "copy_p")


@dataclass(frozen=True, slots=True)
class Owners:
    """Which layer owns a parameter.

    Attributes:
        known: The layers of inputs of the step, by path; what a library adds is not among them.
    """

    known: Mapping[str, str | None]

    def of(self, path: str) -> str | None:
        """The layer of a parameter."""
        return self.known[path] if path in self.known else owner_path(path, None)


def named_after_parameters(
    sites: Sequence[Site],
    gradients: Sequence[GradientSite],
    layers: Mapping[str, str | None],
) -> tuple[tuple[Site, ...], tuple[GradientSite, ...]]:
    """Sites and gradients with their layers, where the parameters tell them.

    Args:
        sites: All sites of a step, in order.
        gradients: Its gradients, by the paths of the parameters.
        layers: The layers of parameters, by their paths.
    """
    read = _parameters_read(sites)
    owners = Owners(layers)
    scopes = _scopes(sites, read, owners)
    trained = [gradient.variable for gradient in gradients]
    updated, made = _updated(sites, trained), _gradients_made(sites, gradients)
    named = tuple(
        _named(
            site,
            _layer(
                site,
                [
                    owners.of(path)
                    # A weight's own name says more than that of its momentum.
                    for path in sorted(
                        read[site.index] or updated[site.index] or made[site.index],
                        key=lambda path: path not in trained,
                    )
                ],
                scopes,
            ),
        )
        for site in sites
    )
    return named, tuple(
        replace(gradient, layer=_scope(owners.of(gradient.variable), scopes))
        for gradient in gradients
    )


def _parameters_read(sites: Sequence[Site]) -> list[tuple[str, ...]]:
    """Paths of the parameters that each site is, casts, or is made from."""
    carried: dict[int, str] = {}
    read: list[tuple[str, ...]] = []
    for site in sites:
        paths = tuple(dict.fromkeys(carried[n] for n in site.inputs if n in carried))
        if site.role == "parameter" and site.variable is not None:
            paths = (site.variable,)
        if paths and (site.role == "parameter" or _casts(site)):
            carried[site.index] = paths[0]
        read.append(paths)
    return read


def _updated(sites: Sequence[Site], trained: Sequence[str]) -> list[tuple[str, ...]]:
    """The only trained parameter to whose new value a site of the update leads, if it is one."""
    leads: list[set[str]] = [set() for _ in sites]
    for site in reversed(sites):
        if site.variable in trained and site.role != "parameter":
            leads[site.index].add(str(site.variable))
        for source in site.inputs:
            leads[source] |= leads[site.index]
    return [
        tuple(paths) if len(paths) == 1 and site.place.phase == "update" else ()
        for site, paths in zip(sites, leads, strict=True)
    ]


def _gradients_made(
    sites: Sequence[Site], gradients: Sequence[GradientSite]
) -> list[tuple[str, ...]]:
    """The parameter whose gradient a site is, or is cast to."""
    made: list[tuple[str, ...]] = [() for _ in sites]
    for gradient in gradients:
        site = sites[gradient.site]
        made[site.index] = (gradient.variable,)
        while _casts(site):
            site = sites[site.inputs[0]]
            made[site.index] = (gradient.variable,)
    return made


def _casts(site: Site) -> bool:
    return site.place.operation in _CASTS and len(site.inputs) == 1


def _scopes(
    sites: Sequence[Site], read: Sequence[tuple[str, ...]], owners: Owners
) -> dict[str, str]:
    """The name scope that uses a module's parameters, by the module's path, where it names it."""
    found: dict[str, str] = {}
    for site in sites:
        scope = site.place.layer
        for path in read[site.index]:
            owner = owners.of(path)
            if owner and scope and site.role != "parameter" and _names(scope, owner):
                found.setdefault(owner, scope)
    return found


def _names(scope: str, owner: str) -> bool:
    """Whether a name scope ends in the name of the module at a path."""
    return scope.rpartition("/")[2] in owner.split("/")


def _layer(site: Site, owners: Sequence[str | None], scopes: Mapping[str, str]) -> str | None:
    scope = site.place.layer
    if not owners or owners[0] is None or (scope is not None and _names(scope, owners[0])):
        return scope
    return _scope(owners[0], scopes)


def _scope(owner: str | None, scopes: Mapping[str, str]) -> str | None:
    return None if owner is None else scopes.get(owner, owner)


def _named(site: Site, layer: str | None) -> Site:
    if layer == site.place.layer:
        return site
    return replace(site, place=replace(site.place, layer=layer))
