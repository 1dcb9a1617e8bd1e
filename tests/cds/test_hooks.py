"""Each hook of the library has its context: what it must hold, who may act, and one typed value of it."""

import pytest

from cds.hooks import HOOKS, ContextField, Reference, own_hook
from cds.hooks import fields as fields_of
from cds.request import parse_request
from cds.testing import hook_body
from clinical.errors import Fault, IncorrectInput


def of_patient(kind, ident="x1", **more):
    return {"resourceType": kind, "id": ident, "subject": {"reference": "Patient/p1"}, **more}


def bundle(*resources):
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": resource} for resource in resources],
    }


CLINICIAN = {"userId": "Practitioner/d1"}
ORDER = of_patient("ServiceRequest", "s1", status="draft", intent="order")
PILLS = of_patient("MedicationRequest", "m1", status="draft", medicationCodeableConcept={"text": "x"})
VISIT = {
    "resourceType": "Appointment",
    "id": "a1",
    "status": "proposed",
    "participant": [{"actor": {"reference": "Patient/p1"}}, {"actor": {"reference": "Practitioner/d1"}}],
}
ALLERGY = {"resourceType": "AllergyIntolerance", "id": "al1", "patient": {"reference": "Patient/p1"}}
TASK = {"resourceType": "Task", "id": "t1", "for": {"reference": "Patient/p1"}}

# The smallest legal context of every hook, beside patientId (reference/cds-hooks.md 1.4).
CONTEXTS = {
    "patient-view": CLINICIAN,
    "order-select": CLINICIAN | {"selections": ["ServiceRequest/s1"], "draftOrders": bundle(ORDER, PILLS)},
    "order-sign": CLINICIAN | {"draftOrders": bundle(ORDER)},
    "order-dispatch": {"dispatchedOrders": ["ServiceRequest/s1"], "performer": "Organization/o1"},
    "appointment-book": CLINICIAN | {"appointments": bundle(VISIT)},
    "encounter-start": CLINICIAN | {"encounterId": "e1"},
    "encounter-discharge": CLINICIAN | {"encounterId": "e1"},
    "problem-list-item-create": CLINICIAN | {"conditions": bundle(of_patient("Condition"))},
    "allergyintolerance-create": CLINICIAN | {"allergyIntolerance": ALLERGY},
    "medication-refill": {"medications": bundle(PILLS)},
    "medication-verify": CLINICIAN | {"medication": PILLS | {"status": "active"}},
    "medication-prescribe": CLINICIAN | {"medications": bundle(PILLS)},
    "order-review": CLINICIAN | {"orders": bundle(ORDER)},
}
REQUIRED = [(hook, name) for hook, context in CONTEXTS.items() for name in (*context, "patientId")]


def read(hook, context=None, **changes):
    whole = {"patientId": "p1"} | CONTEXTS[hook] | (context or {}) | changes
    return parse_request(hook_body(hook=hook, context=whole)).typed


def refused_at(hook, context=None, **changes):
    with pytest.raises(IncorrectInput) as refused:
        read(hook, context, **changes)
    assert "zzcanary" not in refused.value.message.lower()
    return refused.value.expression[0]


def test_the_twelve_hooks_of_the_library_and_the_two_deprecated_ones_are_known():
    assert set(HOOKS) == set(CONTEXTS)
    assert {name for name, hook in HOOKS.items() if hook.deprecated} == {"medication-prescribe", "order-review"}


def test_the_versions_are_those_of_the_published_definitions():
    published = {name: hook.version for name, hook in HOOKS.items() if not hook.deprecated}
    assert published == {
        "patient-view": "1.0",
        "order-select": "1.0",
        "order-sign": "1.1.0",
        "order-dispatch": "1.1",
        "appointment-book": "1.0",
        "encounter-start": "1.0",
        "encounter-discharge": "1.0",
        "problem-list-item-create": "0.1.0",
        "allergyintolerance-create": "0.1.0",
        "medication-refill": "0.1.0",
        "medication-verify": "0.1.0",
    }


@pytest.mark.parametrize("hook", CONTEXTS)
def test_the_smallest_context_of_a_hook_is_enough(hook):
    typed = read(hook)
    assert typed.patient_id == "p1"
    assert typed.extension == {}
    assert (typed.user is None) == (hook in {"order-dispatch", "medication-refill"})


@pytest.mark.parametrize(("hook", "name"), REQUIRED)
def test_a_context_without_a_required_field_is_refused_at_that_field(hook, name):
    context = {"patientId": "p1"} | CONTEXTS[hook]
    del context[name]
    with pytest.raises(IncorrectInput) as refused:
        parse_request(hook_body(hook=hook, context=context))
    assert refused.value.expression == (f"context.{name}",)


@pytest.mark.parametrize(("hook", "name"), REQUIRED)
@pytest.mark.parametrize("value", [None, "", [], {}, 7, "Zzcanary Quillon"])
def test_a_required_field_of_another_kind_is_refused_at_that_field(hook, name, value):
    assert refused_at(hook, **{name: value}).startswith(f"context.{name}")


USERS = {"Practitioner", "PractitionerRole", "Patient", "RelatedPerson", "Device"}
BY_ANYBODY = {"patient-view", "appointment-book"}
BY_PRACTITIONER = {"allergyintolerance-create", "medication-prescribe", "order-review"}


@pytest.mark.parametrize("hook", [name for name in CONTEXTS if name != "order-dispatch"])
@pytest.mark.parametrize("kind", sorted(USERS))
def test_who_may_be_the_user_depends_on_the_hook(hook, kind):
    allowed = {"Practitioner"} | (set() if hook in BY_PRACTITIONER else {"PractitionerRole"})
    allowed |= {"Patient", "RelatedPerson"} if hook in BY_ANYBODY else set()
    if kind in allowed:
        assert read(hook, userId=f"{kind}/u1").user == Reference(kind, "u1")
    else:
        assert refused_at(hook, userId=f"{kind}/u1") == "context.userId"


def test_a_patient_may_ask_for_a_refill_without_a_user():
    assert read("medication-refill").user is None
    assert read("medication-refill", CLINICIAN).user == Reference("Practitioner", "d1")


@pytest.mark.parametrize("form", ["1.0", "1.1"])
def test_both_forms_of_order_dispatch_read_the_same(form):
    old = {"patientId": "p1", "performer": "Organization/o1", "order": "ServiceRequest/s1", "task": TASK}
    new = {
        "patientId": "p1",
        "performer": "Organization/o1",
        "dispatchedOrders": ["ServiceRequest/s1"],
        "fulfillmentTasks": [TASK],
    }
    request = parse_request(hook_body(hook="order-dispatch", context=old if form == "1.0" else new))
    assert request.typed.dispatched_orders == (Reference("ServiceRequest", "s1"),)
    assert request.typed.performer == Reference("Organization", "o1")
    assert request.typed.fulfillment_tasks == (TASK,)
    assert request.context["dispatchedOrders"] == ["ServiceRequest/s1"]
    assert ("order" in request.context) == (form == "1.0")


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"order": "s1"}, "context.order"),
        ({"order": ["ServiceRequest/s1"]}, "context.order"),
        ({"order": "ServiceRequest/s1", "task": {"resourceType": "Patient"}}, "context.task.resourceType"),
        ({"order": "ServiceRequest/s1", "dispatchedOrders": ["ServiceRequest/s2"]}, "context.order"),
        ({"dispatchedOrders": ["ServiceRequest/s1", "s2"]}, "context.dispatchedOrders[1]"),
        ({"dispatchedOrders": ["ServiceRequest/s1"], "performer": "o1"}, "context.performer"),
        (
            {"dispatchedOrders": ["ServiceRequest/s1"], "fulfillmentTasks": [TASK, ORDER]},
            "context.fulfillmentTasks[1].resourceType",
        ),
    ],
)
def test_a_bad_dispatch_is_refused_at_the_field_that_was_sent(change, path):
    context = {"patientId": "p1", "performer": "Organization/o1"} | change
    with pytest.raises(IncorrectInput) as refused:
        parse_request(hook_body(hook="order-dispatch", context=context))
    assert refused.value.expression == (path,)


@pytest.mark.parametrize("chosen", ["ServiceRequest/s2", "MedicationRequest/s1"])
def test_what_is_selected_is_among_the_draft_orders(chosen):
    assert refused_at("order-select", selections=["ServiceRequest/s1", chosen]) == "context.selections[1]"


@pytest.mark.parametrize("chosen", ["s1", "servicerequest/s1", "ServiceRequest/s1/_history/1", "https://x/S/1", 7])
def test_a_selection_is_a_relative_reference(chosen):
    assert refused_at("order-select", selections=[chosen]) == "context.selections[0]"


@pytest.mark.parametrize(
    ("hook", "name", "resource"),
    [
        ("appointment-book", "appointments", ORDER),
        ("problem-list-item-create", "conditions", PILLS),
        ("medication-refill", "medications", ORDER),
    ],
)
def test_a_bundle_holds_what_its_hook_is_about(hook, name, resource):
    path = refused_at(hook, **{name: bundle(resource)})
    assert path == f"context.{name}.entry[0].resource.resourceType"


OTHER = {"reference": "Patient/p2"}


@pytest.mark.parametrize(
    ("hook", "name", "value", "where"),
    [
        ("order-sign", "draftOrders", bundle(ORDER, ORDER | {"subject": OTHER}), "entry[1].resource.subject"),
        ("order-select", "draftOrders", bundle(ORDER, PILLS | {"subject": OTHER}), "entry[1].resource.subject"),
        ("medication-verify", "medication", PILLS | {"subject": OTHER}, "subject"),
        ("allergyintolerance-create", "allergyIntolerance", ALLERGY | {"patient": OTHER}, "patient"),
        (
            "problem-list-item-create",
            "conditions",
            bundle(of_patient("Condition") | {"subject": OTHER}),
            "entry[0].resource.subject",
        ),
    ],
)
def test_an_order_for_another_patient_is_refused_where_it_stands(hook, name, value, where):
    assert refused_at(hook, **{name: value}) == f"context.{name}.{where}"


def test_an_appointment_or_a_task_of_another_patient_is_refused():
    others = VISIT | {"participant": [*VISIT["participant"], {"actor": OTHER}]}
    path = refused_at("appointment-book", appointments=bundle(VISIT, others))
    assert path == "context.appointments.entry[1].resource.participant[2].actor"
    assert (
        refused_at("order-dispatch", fulfillmentTasks=[TASK | {"for": OTHER}]) == "context.fulfillmentTasks[0].for"
    )


def test_all_fhir_in_a_context_is_of_one_version():
    old = of_patient("ProcedureRequest", "r1")
    path = refused_at("order-sign", draftOrders=bundle(ORDER, old))
    assert path == "context.draftOrders.entry[1].resource"
    assert read("order-sign", draftOrders=bundle(old, old | {"id": "r2"})).draft_orders[1]["id"] == "r2"


def test_r4_and_r5_forms_of_an_order_do_not_mix():
    r5 = of_patient("MedicationRequest", "m5", medication={"concept": {"text": "x"}})
    assert refused_at("order-sign", draftOrders=bundle(PILLS, r5)) == "context.draftOrders.entry[1].resource"
    newer = ORDER | {"code": {"concept": {"text": "x"}}}
    assert refused_at("order-sign", draftOrders=bundle(PILLS, newer)) == "context.draftOrders.entry[1].resource"


def test_a_coded_order_of_r4_does_not_go_with_one_of_r5():
    coded = ORDER | {"code": {"coding": [{"system": "http://loinc.org", "code": "36643-5"}]}}
    r5 = of_patient("MedicationRequest", "m5", medication={"concept": {"text": "x"}})
    assert refused_at("order-sign", draftOrders=bundle(coded, r5)) == "context.draftOrders.entry[1].resource"


def test_no_bundle_lies_within_the_bundle():
    path = refused_at("order-sign", draftOrders=bundle(ORDER, bundle(ORDER)))
    assert path == "context.draftOrders.entry[1].resource.resourceType"


@pytest.mark.parametrize(("name", "item"), [("dispatchedOrders", "ServiceRequest/s1"), ("fulfillmentTasks", TASK)])
def test_a_thousand_are_read_and_one_more_is_not(name, item):
    assert read("order-dispatch", **{name: [item] * 1000}).patient_id == "p1"
    assert refused_at("order-dispatch", **{name: [item] * 1001}) == f"context.{name}"


def test_a_draft_without_a_usable_id_can_be_touched_by_nobody():
    odd = bundle(ORDER | {"id": "../p2"}, ORDER | {"id": ".."}, ORDER | {"id": 7})
    assert read("order-sign", draftOrders=odd).drafts() == frozenset()


def test_actions_may_touch_the_drafts_of_the_hook_and_nothing_else():
    assert read("order-select").drafts() == {"ServiceRequest/s1", "MedicationRequest/m1"}
    assert read("appointment-book").drafts() == {"Appointment/a1"}
    assert read("allergyintolerance-create").drafts() == {"AllergyIntolerance/al1"}
    assert read("patient-view").drafts() == frozenset()
    assert read("order-dispatch").drafts() == frozenset()


def test_extensions_reach_the_service_as_they_were_sent():
    extension = {"com.epic.cdshooks.request.fhir-version": "R4"}
    body = hook_body(
        extension=extension, context={"userId": "Patient/p1", "patientId": "p1", "extension": extension}
    )
    request = parse_request(body)
    assert request.extension == request.typed.extension == extension


ARRIVED = own_hook(
    "org.example.study-arrived",
    "1.0",
    (fields_of.patient_id(), fields_of.user_id(required=False), fields_of.reference("study", "study")),
)


def test_a_hook_of_an_organisation_is_read_by_its_own_fields():
    body = hook_body(hook=ARRIVED.name, context={"patientId": "p1", "study": "ImagingStudy/i1"})
    typed = parse_request(body, {ARRIVED.name: ARRIVED}).typed
    assert (typed.patient_id, typed.user) == ("p1", None)
    assert typed.values == {"study": Reference("ImagingStudy", "i1")}


@pytest.mark.parametrize("name", ["study-arrived", "example.study", "Org.Example.x", "org.example.", "a.b.c d"])
def test_a_hook_of_an_organisation_is_named_by_its_domain(name):
    with pytest.raises(Fault):
        own_hook(name, "1.0", (fields_of.patient_id(),))


@pytest.mark.parametrize(
    ("version", "rules"),
    [("one", (fields_of.patient_id(),)), ("1", (fields_of.patient_id(),)), ("1.0", ())],
)
def test_a_hook_without_a_version_or_a_patient_stops_the_start(version, rules: tuple[ContextField, ...]):
    with pytest.raises(Fault):
        own_hook("org.example.study-arrived", version, rules)


def test_no_patient_and_no_order_is_in_the_repr_of_a_context():
    order = ORDER | {"note": [{"text": "Zzcanary"}], "subject": {"reference": "Patient/ZZCANARY-4711"}}
    context = {"userId": "Practitioner/zzcanary", "patientId": "ZZCANARY-4711", "draftOrders": bundle(order)}
    request = parse_request(hook_body(hook="order-sign", context=context))
    assert "zzcanary" not in (repr(request) + repr(request.typed)).lower()
