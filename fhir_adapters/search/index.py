"""What of a resource can be found: its index rows and hot columns, by the table in `parameters`.

A resource is walked once, along the members that some parameter looks at (`_plan`); what each of them makes of the
element found there stands in `elements`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from fhir_adapters.search import ranges
from fhir_adapters.search.ai_values import ai_confidences_of, ai_models_of
from fhir_adapters.search.elements import emit_of
from fhir_adapters.search.links import target_of
from fhir_adapters.search.parameters import RESULTS, TYPES, Kind, Place
from fhir_adapters.search.rows import Emit, Rows
from fhir_adapters.search.substances import add_the_other_dimension
from fhir_adapters.search.texts import normal_text
from record_store.index_rows import IndexRows, TokenRow
from record_store.resources import hot_code

__all__ = ["ID", "Indexed", "index_of", "normal_text", "target_of"]

ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")  # R4 2.24.0.1, id
_STEP = re.compile(r"(?P<name>\w+)(?:\[(?:(?P<at>\d+)|(?P<key>\w+)=(?P<value>[^\]]+))\])?(?:\.|$)")


@dataclass(frozen=True, slots=True)
class Indexed:
    """Index rows and the hot columns that agree with them."""

    rows: IndexRows
    patient: str | None
    code: str | None
    date_lo: str | None


@dataclass(slots=True)
class _Node:
    """An element on the way. joined: a composite joins over its items. emits: what is made of what stands here."""

    members: dict[str, list["_Edge"]] = field(default_factory=dict)
    emits: list[tuple[str, Emit]] = field(default_factory=list)
    joined: bool = False


@dataclass(slots=True)
class _Edge:
    """The way to a member. at: only the item with this number. key, value: only items whose member equals it."""

    node: _Node
    at: int | None
    key: str | None
    value: str | None


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a type is read. hot_*: the parameters whose rows the hot columns repeat."""

    root: _Node
    absent: tuple[str, ...]
    is_result: bool
    hot_patient: frozenset[str]
    hot_code: str | None
    hot_date: str | None


def index_of(resource: Mapping[str, Any], base_url: str) -> Indexed:
    """Return what of a resource can be searched.

    resource: of one of `parameters.TYPES`. Elements of an unexpected shape give no rows.
    base_url: ours, so that an absolute reference to this server equals the relative one.
    """
    plan = _plan(resource["resourceType"])
    made = Rows(base_url.rstrip("/") + "/" if base_url else "")
    _walk(plan.root, resource, 0, made)
    for name in plan.absent:
        made.absent(name)
    if plan.is_result:
        made.tokens += [TokenRow("ai-model", *model) for model in ai_models_of(resource)]
        for confidence in ai_confidences_of(resource):
            ranges.number("ai-confidence", confidence, 0, made)
    if made.quantities and resource["resourceType"] == "Observation":
        add_the_other_dimension(made)
    about = plan.hot_patient
    patient = next(
        (row.target_id for row in made.references if row.target_type == "Patient" and row.param in about), None
    )
    codes = {(row.system, row.code) for row in made.tokens if row.param == plan.hot_code and row.code}
    starts = [row.lo for row in made.dates if row.param == plan.hot_date]
    return Indexed(
        made.frozen(),
        patient=patient,
        code=hot_code(*next(iter(codes))) if len(codes) == 1 else None,
        date_lo=min(starts, default=None),
    )


def _walk(node: _Node, value: object, part: int, made: Rows) -> None:
    for name, emit in node.emits:
        emit(name, value, part, made)
    members = node.members
    if not members or not isinstance(value, dict):
        return
    for name, held in value.items():
        for edge in members.get(name, ()):
            if isinstance(held, list):
                for number, item in enumerate(held):
                    if _chosen(edge, number, item):
                        _walk(edge.node, item, number + 1 if edge.node.joined else part, made)
            elif _chosen(edge, 0, held):
                _walk(edge.node, held, part, made)


def _chosen(edge: _Edge, number: int, item: object) -> bool:
    if edge.at is not None:
        return edge.at == number
    return edge.key is None or (isinstance(item, dict) and item.get(edge.key) == edge.value)


@cache
def _plan(resource_type: str) -> _Plan:
    search = TYPES[resource_type]
    root = _Node()
    absent = []
    for parameter in search.parameters.values():
        if parameter.rows == (parameter.name,):
            for place in parameter.places:
                node = _node(root, place)
                if emit := emit_of(parameter.kind, place):
                    node.emits.append((parameter.name, emit))
            if any(place.type == "PresenceOfTrue" for place in parameter.places):
                absent.append(parameter.name)
    for parameter in search.parameters.values():
        for path in parameter.on if parameter.kind is Kind.COMPOSITE else ():
            if path:
                _node(root, Place(path, "")).joined = True
    hot = search.hot_patient
    return _Plan(
        root,
        tuple(absent),
        resource_type in RESULTS,
        frozenset(name for each in hot for name in search.parameters[each].rows),
        search.hot_code,
        search.hot_date,
    )


def _node(root: _Node, place: Place) -> _Node:
    """Return the node of a place, made where it is not there yet."""
    node = root
    at = 0
    while at < len(place.path):
        step = _STEP.match(place.path, at)
        if step is None:
            raise ValueError(place.path)
        number = int(step["at"]) if step["at"] else None
        edges = node.members.setdefault(step["name"], [])
        edge = next(
            (one for one in edges if (one.at, one.key, one.value) == (number, step["key"], step["value"])), None
        )
        if edge is None:
            edge = _Edge(_Node(), number, step["key"], step["value"])
            edges.append(edge)
        node, at = edge.node, step.end()
    return node
