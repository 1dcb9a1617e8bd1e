"""References (R4 2.3.0): their form, what they may point to, and the resources that one contains."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fhir_adapters.definitions.structure import resource_types
from fhir_adapters.validation import problem as issue

Path = tuple[str | int, ...]

_RESTFUL = re.compile(
    r"(?:https?://[^\s]+/)?(?P<type>[A-Z][A-Za-z]+)/[A-Za-z0-9\-.]{1,64}(?:/_history/[A-Za-z0-9\-.]{1,64})?"
)
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:\S+")
_CONDITIONAL = re.compile(r"(?P<type>[A-Z][A-Za-z]+)\?\S+")


def reference_problems(value: Mapping[str, Any], targets: frozenset[str]) -> Iterator[str]:
    """Yield what is wrong with a Reference; targets: the types it may point to, empty for any."""
    said, kind = value.get("reference"), value.get("type")
    if not any(name in value for name in ("reference", "identifier", "display", "extension", "_reference")):
        yield "must be there, or an identifier or display"
    if not isinstance(said, str):
        if targets and kind in resource_types() and kind not in targets:
            yield "points to a type that may not stand here"
        return
    if said.startswith("#"):
        return
    found = _RESTFUL.fullmatch(said) or _CONDITIONAL.fullmatch(said)
    if found is None:
        if not _ABSOLUTE.fullmatch(said):
            yield "must be Type/id, an absolute URL or #id"
        return
    target = found["type"]
    if target not in resource_types():
        if not _ABSOLUTE.fullmatch(said):
            yield "names no resource type of R4"
    elif targets and target not in targets:
        yield "points to a type that may not stand here"
    elif kind is not None and kind != target:
        yield "points to another type than `type` says"


def contained_problems(value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (key, text) of what a contained resource may not have (dom-2, dom-4, dom-5)."""
    meta = value.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    if "contained" in value:
        yield "dom-2", "may contain no resource itself"
    if "versionId" in meta or "lastUpdated" in meta:
        yield "dom-4", "may have no version of its own"
    if "security" in meta:
        yield "dom-5", "may have no security label of its own"


class Links:
    """Contained resources of one resource, and what points to them (ref-1, dom-3)."""

    def __init__(self) -> None:
        self._contained: dict[str, Path] = {}
        self._pointed: list[tuple[str, Path, str | None]] = []
        self._mentioned: set[str] = set()
        self._to_container: set[str] = set()
        self._inside: str | None = None
        self._nameless: list[Path] = []
        self._twice: list[Path] = []

    def within(self, contained_id: object) -> None:
        """From here on the walk is inside that contained resource; None: outside again."""
        self._inside = contained_id if isinstance(contained_id, str) else None

    def contains(self, contained_id: object, path: Path) -> None:
        """Note a contained resource."""
        if not isinstance(contained_id, str):
            self._nameless.append(path)
        elif contained_id in self._contained:
            self._twice.append(path)
        else:
            self._contained[contained_id] = path

    def points_to(self, reference: object, path: Path) -> None:
        """Note a reference, if it is to something contained or to the container."""
        if isinstance(reference, str) and reference.startswith("#"):
            self._pointed.append((reference[1:], path, self._inside))

    def mentions(self, uri: str) -> None:
        """Note a URI that names something contained."""
        self._mentioned.add(uri[1:])

    def problems(self) -> Iterator[tuple[str, Path, str]]:
        """Yield (issue-type code, place, text)."""
        for path in self._nameless:
            yield issue.INVARIANT, path, "must have an id: nothing can point to it (dom-3)"
        for path in self._twice:
            yield issue.INVARIANT, path, "has the id of another contained resource"
        for target, path, _ in self._pointed:
            if target and target not in self._contained:
                yield issue.INVARIANT, (*path, "reference"), "points to nothing that is contained (ref-1)"
        used = {target for target, _, _ in self._pointed} | self._mentioned
        back = {inside for target, _, inside in self._pointed if not target}
        for name, path in self._contained.items():
            if name not in used and name not in back:
                yield issue.INVARIANT, path, "is contained and nothing points to it (dom-3)"
