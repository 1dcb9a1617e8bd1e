"""What a hook is: a name, a published version, and how its context is read."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cds.compartment import stranger
from cds.hooks.contexts import Context, OwnContext
from cds.hooks.fields import ContextField, wrong
from cds.hooks.versions import check_one_version
from clinical.errors import Fault, IncorrectInput

Json = Mapping[str, Any]

_VERSION = re.compile(r"\d+\.\d+(\.\d+)?")
_LIBRARY_NAME = re.compile(r"[a-z]+(-[a-z]+)+")
_REVERSE_DOMAIN = re.compile(r"[a-z]{2,}(\.[a-z0-9\-]+){2,}")


def _as_sent(context: Json) -> Json:
    return context


def _nothing_more(_context: Context) -> None:
    """Check nothing more."""


@dataclass(frozen=True, slots=True)
class Hook:
    """One hook definition.

    version: of the published definition, as discovery announces it (`hookVersion`, D3).
    context: the class that is made of the fields. normalise: older forms of the context -> the present one; what
    was sent stays in it. check: what holds between fields; raises IncorrectInput.
    """

    name: str
    version: str
    fields: tuple[ContextField, ...]
    context: Callable[..., Context]
    normalise: Callable[[Json], Json] = _as_sent
    check: Callable[[Any], None] = _nothing_more
    deprecated: bool = False

    def __post_init__(self) -> None:
        named = _LIBRARY_NAME.fullmatch(self.name) or _REVERSE_DOMAIN.fullmatch(self.name)
        if not named or not _VERSION.fullmatch(self.version):
            raise Fault(f"the hook {self.name} has a name or a version that discovery cannot announce")
        # Without it nothing could show that what is prefetched is this patient's (DESIGN promise 4).
        if not any(rule.name == "patientId" and rule.required for rule in self.fields):
            raise Fault(f"the hook {self.name} does not demand a patientId")

    def read(self, sent: Json, fhir_server: str | None) -> tuple[Json, Context]:
        """Return the context as templates see it and as services do.

        Raises IncorrectInput with the JSON path of the first thing that is wrong: a field, a resource that is
        not of context.patientId, or FHIR of two versions.
        """
        whole = self.normalise(sent)
        values = {rule.attribute: self._field(rule, whole) for rule in self.fields if self._has(rule, whole)}
        typed = self.context(**values, extension=whole.get("extension", {}))
        self.check(typed)
        held = [(f"context.{rule.name}", whole[rule.name]) for rule in self.fields if self._holds(rule, whole)]
        for path, value in held:
            _check_patient(path, value, typed.patient_id, fhir_server)
        if held:
            check_one_version(held)
        return whole, typed

    def _has(self, rule: ContextField, context: Json) -> bool:
        if rule.name in context:
            return True
        if rule.required:
            raise wrong(f"context.{rule.name}", f"required by {self.name}")
        return False

    def _holds(self, rule: ContextField, context: Json) -> bool:
        return rule.fhir and rule.name in context

    def _field(self, rule: ContextField, context: Json) -> object:
        return rule.read(context[rule.name], f"context.{rule.name}")


def own_hook(name: str, version: str, fields: tuple[ContextField, ...]) -> Hook:
    """Return a hook that an organisation has defined; a service that serves it makes it known.

    name: in reverse domain notation (`org.example.study-arrived`), as CDS Hooks demands of such hooks.

    Raises Fault when it is not, or when the fields have no required patientId.
    """
    if not _REVERSE_DOMAIN.fullmatch(name):
        raise Fault(f"the hook {name} is not named in reverse domain notation")
    common = {"patient_id", "user", "encounter_id"}

    def context(*, extension: Json, **values: object) -> Context:
        shared = {key: value for key, value in values.items() if key in common}
        rest = {key: value for key, value in values.items() if key not in common}
        return OwnContext(**shared, extension=extension, values=rest)  # type: ignore[arg-type]

    return Hook(name, version, fields, context)


def _check_patient(path: str, value: object, patient_id: str, server: str | None) -> None:
    for where, item in _items(path, value):
        whose = stranger(item, patient_id, server, where)
        if whose is not None:
            raise IncorrectInput("the context holds data that is not of context.patientId", expression=[whose])


def _items(path: str, value: Any) -> list[tuple[str, Json]]:  # noqa: ANN401 - read as FHIR before
    if isinstance(value, list):
        return [(f"{path}[{number}]", item) for number, item in enumerate(value)]
    return [(path, value)]
