"""The invariants of R4, by the type on which they stand: written here, not evaluated as FHIRPath.

FHIRPath in Python is slow and, for several of these (per-1, rng-2, ras-2, ext-1), wrong. A rule says nothing of
values of another shape: those are findings of their own. References and contained resources: `references`;
narrative: `narrative`; ele-1 (no empty element): the walk itself.
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from clinical.codes import UCUM
from fhir_adapters.validation.invariants_of_types import OF_TYPES
from fhir_adapters.validation.rules import (
    Json,
    Rule,
    apart,
    codes_of,
    decimal_of,
    has,
    in_order,
    part,
    parts,
    some,
    together,
)

_CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"
_VERIFICATION = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
_SCOPE = "http://terminology.hl7.org/CodeSystem/consentscope"


def _low_to_high(value: Json) -> bool:
    low, high = part(value, "low"), part(value, "high")
    if low.get("code", low.get("unit")) != high.get("code", high.get("unit")):
        return True
    least, most = decimal_of(low.get("value")), decimal_of(high.get("value"))
    return least is None or most is None or least <= most


def _unit_of(codes: frozenset[str] | None = None) -> Callable[[Json], bool]:
    def holds(value: Json) -> bool:
        named = "code" in value or "value" not in value
        return named and value.get("system", UCUM) == UCUM and (codes is None or value.get("code", "1") in codes)

    return holds


def _not_negative(name: str) -> Callable[[Json], bool]:
    return lambda value: (decimal_of(value.get(name)) or Decimal()) >= 0


def _percentage(value: Json) -> bool:
    share = decimal_of(value.get("probabilityDecimal"))
    return share is None or 0 <= share <= 100


def _percent_range(value: Json) -> bool:
    ends = [part(part(value, "probabilityRange"), name) for name in ("low", "high")]
    return all(not end or (end.get("code") == "%" and end.get("system") == UCUM) for end in ends)


def _component_codes(value: Json) -> bool:
    own = codes_of(value.get("code"))
    return not has(value, "value") or not any(own & codes_of(one.get("code")) for one in parts(value, "component"))


def _abated(value: Json) -> bool:
    over = {(_CLINICAL, code) for code in ("resolved", "remission", "inactive")}
    return not has(value, "abatement") or bool(over & codes_of(value.get("clinicalStatus")))


def _mistaken(value: Json) -> bool:
    wrong = (_VERIFICATION, "entered-in-error") in codes_of(value.get("verificationStatus"))
    return not wrong or "clinicalStatus" not in value


def _no_home(name: str) -> Callable[[Json], bool]:
    return lambda value: all(one.get("use") != "home" for one in parts(value, name))


def _extended(value: Json) -> bool:
    return ("extension" in value) != has(value, "value")


def _ratio(value: Json) -> bool:
    both = ("numerator" in value) == ("denominator" in value)
    return both and ("numerator" in value or "extension" in value)


def _offset(value: Json) -> bool:
    if "offset" not in value:
        return True
    events = value.get("when")
    return isinstance(events, list) and bool(events) and not {"C", "CM", "CD", "CV"} & set(map(str, events))


def _parameter(value: Json) -> bool:
    held = (has(value, "value"), "resource" in value, "part" in value)
    return sum(held) == 1


def _whole(value: Json) -> bool:
    number = decimal_of(value.get("value"))
    return number is None or number == number.to_integral_value()


def _positive(value: Json) -> bool:
    number = decimal_of(value.get("value"))
    return number is None or number > 0


def _duration(value: Json) -> bool:
    return "code" not in value or (value.get("system") == UCUM and "value" in value)


def _consent(code: str) -> Callable[[Json], bool]:
    return lambda value: "patient" in value or (_SCOPE, code) not in codes_of(value.get("scope"))


def _of_bundle(name: str, kinds: frozenset[str]) -> Callable[[Json], bool]:
    def holds(value: Json) -> bool:
        wanted = value.get("type") in kinds
        return all((name in entry) == wanted for entry in parts(value, "entry"))

    return holds


def _full_urls(value: Json) -> bool:
    if value.get("type") == "history":
        return True
    seen = [
        (one["fullUrl"], part(part(one, "resource"), "meta").get("versionId"))
        for one in parts(value, "entry")
        if isinstance(one.get("fullUrl"), str)
    ]
    return len(seen) == len(set(seen))


def _first_is(kind: str, wanted: str) -> Callable[[Json], bool]:
    def holds(value: Json) -> bool:
        first = next(iter(parts(value, "entry")), {})
        return value.get("type") != kind or part(first, "resource").get("resourceType") == wanted

    return holds


def _document(*names: str) -> Callable[[Json], bool]:
    def holds(value: Json) -> bool:
        within: Json = value if len(names) == 1 else part(value, names[0])
        return value.get("type") != "document" or all(name in within for name in names[-1:])

    return holds


_QTY = Rule("qty-3", "a unit's code needs its system", together("code", "system"), ("code",))
_REQUESTS = frozenset({"batch", "transaction", "history"})
_RESPONSES = frozenset({"batch-response", "transaction-response", "history"})

INVARIANTS: Mapping[str, Iterable[Rule]] = {
    "Age": (_QTY, Rule("age-1", "must be a positive UCUM quantity", lambda v: _unit_of()(v) and _positive(v))),
    "Attachment": (Rule("att-1", "data needs a contentType", together("data", "contentType")),),
    "AuditEvent.entity": (Rule("sev-1", "may have a name or a query, not both", apart("name", "query")),),
    "Bundle": (
        Rule("bdl-1", "only a searchset or a history has a total",
             lambda v: "total" not in v or v.get("type") in ("searchset", "history"), ("total",)),
        Rule("bdl-2", "only the entries of a searchset have search",
             lambda v: v.get("type") == "searchset" or not any("search" in e for e in parts(v, "entry"))),
        Rule("bdl-3", "entries have a request in a batch, transaction or history, and only there",
             _of_bundle("request", _REQUESTS)),
        Rule("bdl-4", "entries have a response in a response or history, and only there",
             _of_bundle("response", _RESPONSES)),
        Rule("bdl-7", "a fullUrl may stand once only", _full_urls),
        Rule("bdl-9", "a document needs an identifier with system and value",
             lambda v: v.get("type") != "document" or {"system", "value"} <= part(v, "identifier").keys()),
        Rule("bdl-10", "a document needs a timestamp", _document("timestamp")),
        Rule("bdl-11", "a document begins with a Composition", _first_is("document", "Composition")),
        Rule("bdl-12", "a message begins with a MessageHeader", _first_is("message", "MessageHeader")),
    ),
    "Bundle.entry": (
        Rule("bdl-5", "must hold a resource, a request or a response", some("resource", "request", "response")),
        Rule("bdl-8", "names no version", lambda v: "/_history/" not in str(v.get("fullUrl")), ("fullUrl",)),
    ),
    "CarePlan.activity": (Rule("cpl-3", "has a detail or a reference, not both", apart("detail", "reference")),),
    "Condition": (
        Rule("con-4", "an abated condition is inactive, resolved or in remission", _abated, ("clinicalStatus",)),
        Rule("con-5", "entered in error, it has no clinical status", _mistaken, ("clinicalStatus",)),
    ),
    "Condition.evidence": (Rule("con-2", "must have a code or a detail", some("code", "detail")),),
    "Condition.stage": (Rule("con-1", "must have a summary or an assessment", some("summary", "assessment")),),
    "Consent": (
        Rule("ppc-1", "must name a policy or a policyRule", some("policy", "policyRule")),
        *(Rule(key, "needs a patient", _consent(code), ("patient",)) for key, code in (
            ("ppc-2", "patient-privacy"), ("ppc-3", "research"), ("ppc-4", "adr"), ("ppc-5", "treatment"))),
    ),
    "ContactPoint": (Rule("cpt-2", "a value needs a system", together("value", "system"), ("system",)),),
    "Count": (_QTY, Rule("cnt-3", "must be a whole number of unit 1",
                         lambda v: _unit_of(frozenset({"1"}))(v) and _whole(v))),
    "DataRequirement.codeFilter": (
        Rule("drq-1", "has a path or a searchParam", lambda v: ("path" in v) != ("searchParam" in v)),),
    "DataRequirement.dateFilter": (
        Rule("drq-2", "has a path or a searchParam", lambda v: ("path" in v) != ("searchParam" in v)),),
    "Distance": (_QTY, Rule("dis-1", "must be a UCUM quantity", _unit_of())),
    "Duration": (_QTY, Rule("drt-1", "must be a UCUM quantity with a value", _duration)),
    "Expression": (Rule("exp-1", "must have an expression or a reference", some("expression", "reference")),),
    "Extension": (Rule("ext-1", "must have a value or extensions, not both", _extended),),
    "Goal.target": (Rule("gol-1", "a detail needs a measure",
                         lambda v: not has(v, "detail") or "measure" in v, ("measure",)),),
    "Observation": (
        Rule("obs-6", "must be absent beside a value",
             lambda v: "dataAbsentReason" not in v or not has(v, "value"), ("dataAbsentReason",)),
        Rule("obs-7", "a component repeats the code of a value", _component_codes, ("component",)),
    ),
    "Observation.referenceRange": (Rule("obs-3", "must have low, high or text", some("low", "high", "text")),),
    "Organization": (
        Rule("org-1", "must have an identifier or a name", some("identifier", "name")),
        Rule("org-2", "has no home address", _no_home("address"), ("address",)),
        Rule("org-3", "has no home telecom", _no_home("telecom"), ("telecom",)),
    ),
    "Parameters.parameter": (Rule("inv-1", "must have one of value, resource and parts", _parameter),),
    "Patient.contact": (Rule("pat-1", "must have a name, telecom, address or organization",
                             some("name", "telecom", "address", "organization")),),
    "Period": (Rule("per-1", "must not end before it starts", lambda v: in_order(v, "start", "end")),),
    "Quantity": (_QTY,),
    "Range": (Rule("rng-2", "low must not be above high", _low_to_high),),
    "Ratio": (Rule("rat-1", "must have numerator and denominator", _ratio),),
    "RiskAssessment.prediction": (
        Rule("ras-2", "must be a percentage of 0 to 100", _percentage, ("probabilityDecimal",)),
        Rule("ras-1", "must be in percent", _percent_range, ("probabilityRange",)),
    ),
    "ServiceRequest": (Rule("prr-1", "order details need a code", together("orderDetail", "code"), ("code",)),),
    "Task": (Rule("inv-1", "must not have been changed before it was made",
                  lambda v: in_order(v, "authoredOn", "lastModified"), ("lastModified",)),),
    "Timing.repeat": (
        Rule("tim-1", "a duration needs its unit", together("duration", "durationUnit")),
        Rule("tim-2", "a period needs its unit", together("period", "periodUnit")),
        Rule("tim-4", "must not be negative", _not_negative("duration"), ("duration",)),
        Rule("tim-5", "must not be negative", _not_negative("period"), ("period",)),
        Rule("tim-6", "periodMax needs a period", together("periodMax", "period")),
        Rule("tim-7", "durationMax needs a duration", together("durationMax", "duration")),
        Rule("tim-8", "countMax needs a count", together("countMax", "count")),
        Rule("tim-9", "an offset needs an event other than a meal", _offset, ("offset",)),
        Rule("tim-10", "may have timeOfDay or when, not both", apart("timeOfDay", "when")),
    ),
    "TriggerDefinition": (
        Rule("trd-1", "has data or a timing, not both", lambda v: "data" not in v or not has(v, "timing")),
        Rule("trd-2", "a condition needs data", together("condition", "data")),
    ),
    **OF_TYPES,
}  # fmt: skip
