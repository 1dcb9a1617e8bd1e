"""Section 1.4 of the checklist: what the context of each hook must hold (HL7/cds-hooks-library)."""

from collections.abc import Callable

from cds.conformance.bench import Bench, JsonObject
from cds.conformance.model import Check, Level, NotApplicable, must
from cds.wire_schema import schema

CLAUSE = "Hook context"
# row of the checklist -> hooks
ROWS = {
    "H1": ("patient-view",),
    "H2": ("order-select",),
    "H3": ("order-sign",),
    "H4": ("order-dispatch",),
    "H5": ("appointment-book",),
    "H6": ("encounter-start",),
    "H7": ("encounter-discharge",),
    "H8": ("problem-list-item-create",),
    "H9": ("allergyintolerance-create",),
    "H10": ("medication-refill",),
    "H11": ("medication-verify",),
    "H12": ("medication-prescribe", "order-review"),
}


def _served(bench: Bench, hooks: tuple[str, ...]) -> list[JsonObject]:
    """Return the services on these hooks that understand a good call (200, or 412 for want of data)."""
    services = [one for one in bench.services() if one["hook"] in hooks]
    if not services:
        raise NotApplicable("no service is on this hook")
    return services


def _understood(hooks: tuple[str, ...]) -> Callable[[Bench], None]:
    def run(bench: Bench) -> None:
        for service in _served(bench, hooks):
            contexts = schema("contexts")["$defs"][service["hook"]]["examples"]
            for number in range(len(contexts)):
                body = bench.body(service) | {"context": bench.context(service["hook"], number)}
                status = bench.call(service, body).status_code
                must(status in {200, 412}, f"{service['id']}: a legal context is answered {status}")

    return run


def _checked(hooks: tuple[str, ...]) -> Callable[[Bench], None]:
    def run(bench: Bench) -> None:
        for service in _served(bench, hooks):
            hook = service["hook"]
            for name, bad in _faults(hook):
                body = bench.body(service)
                context = dict(body["context"])
                context.pop(name, None)
                body["context"] = context if bad is None else context | {name: bad}
                status = bench.call(service, body).status_code
                how = "missing" if bad is None else "of a wrong form"
                must(400 <= status < 500, f"{service['id']}: {name} {how}, answered {status}")

    return run


def _faults(hook: str) -> list[tuple[str, object]]:
    """Return the fields that may not be missing, and wrong values for those that are ids and references."""
    definition = schema("contexts")["$defs"][hook]
    required = set(definition.get("required", ())) | {"patientId"}
    if hook not in {"order-dispatch", "medication-refill"}:
        required.add("userId")
    faults: list[tuple[str, object]] = [(name, None) for name in sorted(required)]
    if "userId" in required:
        faults.append(("userId", "just-an-id"))
    return [*faults, ("patientId", f"Patient/{'x' * 5}")]


CHECKS = tuple(
    check
    for row, hooks in ROWS.items()
    for check in (
        Check(f"{row}.1", Level.MUST, CLAUSE, f"{' and '.join(hooks)}: a legal context is understood",
              _understood(hooks)),
        Check(f"{row}.2", Level.MUST, CLAUSE, f"{' and '.join(hooks)}: a field missing or malformed is refused",
              _checked(hooks)),
    )
)  # fmt: skip
