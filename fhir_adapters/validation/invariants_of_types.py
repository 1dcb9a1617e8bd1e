"""The invariants of R4 that stand on single types of records; those of data types and results: `invariants`.

Where R4's text and its expression differ, the expression counts: it is what other validators evaluate (que-12 lets
two conditions stand without enableBehavior).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from fhir_adapters.validation.rules import Json, Rule, apart, codes_of, has, in_order, part, parts, some, together

_ALLERGY = ("http://terminology.hl7.org/CodeSystem/allergyintolerance-verification", "entered-in-error")
_WITHOUT_TIMES = frozenset({"proposed", "cancelled", "waitlist"})
_WITH_LENGTH = frozenset({"boolean", "decimal", "integer", "string", "text", "url", "open-choice"})
_WITH_ANSWERS = frozenset(
    {"choice", "open-choice", "decimal", "integer", "date", "dateTime", "time", "string", "quantity"}
)


def _is_mistaken(value: Json) -> bool:
    return _ALLERGY in codes_of(value.get("verificationStatus"))


def _within(value: Json, name: str) -> Iterator[Json]:
    """Yield the objects of a list element and, at any depth, of the same element in them."""
    for one in parts(value, name):
        yield one
        yield from _within(one, name)


def _said_once(within: str, name: str, value: Json) -> bool:
    said = [one[name] for one in _within(value, within) if isinstance(one.get(name), str)]
    return len(said) == len(set(said))


def _of_practitioner(value: Json) -> bool:
    member = str(part(value, "member").get("reference", ""))
    return "onBehalfOf" not in value or "/" not in member or "Practitioner/" in member


def _item_is(value: Json, *kinds: str) -> bool:
    return value.get("type") in kinds


def _no(name: str, *kinds: str) -> Callable[[Json], bool]:
    return lambda value: name not in value or not _item_is(value, *kinds)


def _nested(value: Json) -> bool:
    return ("item" in value or not _item_is(value, "group")) and (
        "item" not in value or not _item_is(value, "display")
    )


def _initials(value: Json) -> bool:
    return value.get("repeats") is True or len(parts(value, "initial")) <= 1


OF_TYPES: Mapping[str, Iterable[Rule]] = {
    "AllergyIntolerance": (
        Rule("ait-1", "must be there unless the entry is an error",
             lambda v: _is_mistaken(v) or "clinicalStatus" in v, ("clinicalStatus",)),
        Rule("ait-2", "entered in error, it has no clinical status",
             lambda v: not _is_mistaken(v) or "clinicalStatus" not in v, ("clinicalStatus",)),
    ),
    "Appointment": (
        Rule("app-2", "has a start and an end, or neither", lambda v: ("start" in v) == ("end" in v)),
        Rule("app-3", "only proposed, cancelled or waiting it has no start and end",
             lambda v: v.get("status") in _WITHOUT_TIMES or {"start", "end"} <= v.keys()),
        Rule("app-4", "only a cancelled appointment or a no-show has a reason for it",
             lambda v: "cancelationReason" not in v or v.get("status") in ("noshow", "cancelled"),
             ("cancelationReason",)),
    ),
    "Appointment.participant": (Rule("app-1", "must have a type or an actor", some("type", "actor")),),
    "CareTeam.participant": (
        Rule("ctm-1", "only a Practitioner acts on behalf of another", _of_practitioner, ("onBehalfOf",)),
    ),
    "CodeSystem": (
        Rule("csd-1", "a code may stand once only", lambda v: _said_once("concept", "code", v), ("concept",)),
    ),
    "Composition.section": (
        Rule("cmp-1", "must have a text, entries or sections", some("text", "entry", "section")),
        Rule("cmp-2", "is empty for no reason if it has entries", apart("emptyReason", "entry"),
             ("emptyReason",)),
    ),
    "ConceptMap.group.element.target": (
        Rule("cmd-1", "what is narrower or inexact needs a comment",
             lambda v: "comment" in v or v.get("equivalence") not in ("narrower", "inexact"), ("comment",)),
    ),
    "ConceptMap.group.unmapped": (
        Rule("cmd-2", "a fixed code must be named", lambda v: v.get("mode") != "fixed" or "code" in v, ("code",)),
        Rule("cmd-3", "the other map must be named", lambda v: v.get("mode") != "other-map" or "url" in v,
             ("url",)),
    ),
    "FamilyMemberHistory": (
        Rule("fhs-1", "has an age or a birth, not both", lambda v: not (has(v, "age") and has(v, "born"))),
        Rule("fhs-2", "only an age is estimated", lambda v: has(v, "age") or "estimatedAge" not in v,
             ("estimatedAge",)),
    ),
    "Group": (
        Rule("grp-1", "only an actual group has members", lambda v: "member" not in v or v.get("actual") is True,
             ("member",)),
    ),
    "Immunization.education": (
        Rule("imm-1", "must have a documentType or a reference", some("documentType", "reference")),
    ),
    "InsurancePlan": (Rule("ipn-1", "must have an identifier or a name", some("identifier", "name")),),
    "List": (
        Rule("lst-1", "is empty for no reason if it has entries", apart("emptyReason", "entry"), ("emptyReason",)),
        Rule("lst-2", "only in a list of changes an entry is deleted",
             lambda v: v.get("mode") == "changes" or not any("deleted" in one for one in parts(v, "entry"))),
        Rule("lst-3", "only in a working list an entry has a date",
             lambda v: v.get("mode") == "working" or not any("date" in one for one in parts(v, "entry"))),
    ),
    "MedicationAdministration.dosage": (
        Rule("mad-1", "must have a dose or a rate", lambda v: "dose" in v or has(v, "rate")),
    ),
    "MedicationDispense": (
        Rule("mdd-1", "must not be handed over before it is prepared",
             lambda v: in_order(v, "whenPrepared", "whenHandedOver"), ("whenHandedOver",)),
    ),
    "Questionnaire": (
        Rule("que-2", "a linkId may stand once only", lambda v: _said_once("item", "linkId", v), ("item",)),
    ),
    "Questionnaire.item": (
        Rule("que-1", "a group has items, a display has none", _nested, ("item",)),
        Rule("que-3", "a display has no code", _no("code", "display"), ("code",)),
        Rule("que-4", "has answerOption or answerValueSet, not both", apart("answerOption", "answerValueSet")),
        Rule("que-5", "an item of this type has no answers to choose from",
             lambda v: _item_is(v, *_WITH_ANSWERS) or not {"answerValueSet", "answerOption"} & v.keys()),
        Rule("que-6", "a display is neither required nor repeated",
             lambda v: not _item_is(v, "display") or not {"required", "repeats"} & v.keys()),
        Rule("que-8", "a group or a display has no initial value", _no("initial", "group", "display"),
             ("initial",)),
        Rule("que-9", "a display is not read-only", _no("readOnly", "display"), ("readOnly",)),
        Rule("que-10", "an item of this type has no greatest length",
             lambda v: _item_is(v, *_WITH_LENGTH) or "maxLength" not in v, ("maxLength",)),
        Rule("que-11", "has options or an initial value, not both", apart("answerOption", "initial"),
             ("initial",)),
        Rule("que-12", "several conditions need an enableBehavior",
             lambda v: len(parts(v, "enableWhen")) <= 2 or "enableBehavior" in v, ("enableBehavior",)),
        Rule("que-13", "only a repeating item has several initial values", _initials, ("initial",)),
    ),
    "Questionnaire.item.enableWhen": (
        Rule("que-7", "exists is answered by a boolean",
             lambda v: v.get("operator") != "exists" or "answerBoolean" in v, ("answer[x]",)),
    ),
    "QuestionnaireResponse.item": (
        Rule("qrs-1", "has items beneath itself or beneath its answers, not both", apart("answer", "item")),
    ),
    "RequestGroup.action": (
        Rule("rqg-1", "has a resource or actions, not both", lambda v: ("resource" in v) != ("action" in v)),
    ),
    "ValueSet.compose.include": (
        Rule("vsd-1", "must have a system or value sets", some("valueSet", "system")),
        Rule("vsd-2", "concepts and filters need a system",
             lambda v: "system" in v or not {"concept", "filter"} & v.keys(), ("system",)),
        Rule("vsd-3", "has concepts or filters, not both", apart("concept", "filter")),
    ),
    "ValueSet.expansion.contains": (
        Rule("vsd-6", "must have a code or a display", some("code", "display")),
        Rule("vsd-9", "needs a code unless it is abstract", lambda v: "code" in v or v.get("abstract") is True,
             ("code",)),
        Rule("vsd-10", "a code needs its system", together("code", "system"), ("system",)),
    ),
}  # fmt: skip
