"""The resolver gives what a small, slow reference gives, for ten thousand templates made by chance.

The reference shares no line with cds/prefetch: it cuts templates with str.split, looks for every resource by going
through everything, may look into the whole server at once, and encodes character by character.
"""

import random
import re
from datetime import date, timedelta

from cds.prefetch import Scope, fill, parse_query

TEMPLATES, WORLDS = 10_000, 200
BASE = "https://ehr.example/fhir"
TODAY = date(2026, 11, 26)
KINDS = ["ServiceRequest", "MedicationRequest", "Condition", "Practitioner", "PractitionerRole", "Medication"]
USERS = {
    "userPractitionerId": "Practitioner",
    "userPractitionerRoleId": "PractitionerRole",
    "userPatientId": "Patient",
    "userRelatedPersonId": "RelatedPerson",
}


# --- the reference ---------------------------------------------------------------------------------------------


def reference(template, context, known, server):
    """Return the query, or None."""
    if template.startswith("{{") and template.endswith("}}") and template.count("{{") == 1:
        values = token_values(template[2:-2], context, known, server)
        found = local(values[0]) if len(values) == 1 else None
        return None if found is None else f"{found[0]}/{found[1]}"
    if "?" not in re.sub(r"\{\{.*?\}\}", "", template):
        kind, text = template.split("/", 1)
        values = token_values(text[2:-2], context, known, server) if text.startswith("{{") else [text]
        return f"{kind}/{values[0]}" if len(values) == 1 and is_id(values[0]) else None
    kind, rest = template.split("?", 1)
    said = []
    for pair in rest.split("&"):
        name, value = pair.split("=", 1)
        if name == "sort:desc":
            name, value = "_sort", "-" + value
        written = whole_value(value, context, known, server)
        if written is None:
            return None
        said.append(f"{name}={written}")
    query = kind + "?" + "&".join(said)
    return query if len(query) <= 6000 else None


def whole_value(value, context, known, server):
    written = ""
    while "{{" in value:
        before, rest = value.split("{{", 1)
        token, value = rest.split("}}", 1)
        written += before
        values = token_values(token, context, known, server)
        joined_on = (written and written[-1] != ",") or (value and value[0] != ",")
        if not values or (len(values) > 1 and joined_on):
            return None
        written += ",".join(encoded(one) for one in values)
    return written + value


def encoded(text):
    out = ""
    for char in text:
        for one in ("\\" + char) if char in "\\,$|" else char:
            plain = one.isascii() and (one.isalnum() or one in "-._~")
            out += one if plain else "".join(f"%{byte:02X}" for byte in one.encode())
    return out


def token_values(token, context, known, server):
    values = []
    for term in token.split("|"):
        for value in term_values(term.strip(), context, known, server):
            if value not in values:
                values.append(value)
    return values


def term_values(term, context, known, server):
    if term in USERS:
        kind, ident = context["userId"].split("/")
        return [ident] if kind == USERS[term] else []
    if term.startswith("today()"):
        days = sum(int(sign + number) for sign, number in re.findall(r"([+-]) *(\d+)", term))
        return [(TODAY + timedelta(days=days)).isoformat()]
    root, *steps = term.split(".")
    start = context if root == "context" else known.get(root.strip("%`"))
    everything = [*context.values(), *known.values()]
    at_hand = [r for value in everything for r in resources(value)] + [(None, one) for one in server]
    found = walk(start, start if is_resource(start) else None, False, steps, at_hand)
    return [text for value in found for text in simple(value)]


def resources(value):
    if is_resource(value):
        yield None, value
        if value["resourceType"] == "Bundle":
            for entry in value["entry"]:
                if "resource" in entry:
                    yield entry.get("fullUrl"), entry["resource"]


def walk(value, outer, inner, steps, at_hand):
    """outer: the resource around. inner: `value` is a contained resource."""
    if value is None:
        return []
    if isinstance(value, list):
        return [end for one in value for end in walk(one, outer_of(one, outer, inner), inner, steps, at_hand)]
    if not steps:
        return [value]
    step, *rest = steps
    if step.startswith("ofType("):
        kind = value.get("resourceType") if isinstance(value, dict) else None
        return walk(value, outer, inner, rest, at_hand) if kind == step[7:-1] else []
    if step == "resolve()":
        text = value.get("reference") if isinstance(value, dict) else value
        if not isinstance(text, str):
            return []
        if text.startswith("#"):
            contained = [one for one in (outer or {}).get("contained", []) if one["id"] == text[1:]]
            return walk(contained[0], outer, True, rest, at_hand) if contained else []
        if text.startswith("urn:"):
            drafts = [one for url, one in at_hand if url == text]
            return walk(drafts[0], drafts[0], False, rest, at_hand) if drafts else []
        if local(text) is None:
            return []
        kind, ident = local(text)
        same = [one for _, one in at_hand if (one["resourceType"], one.get("id")) == (kind, ident)]
        resource = same[0] if same else {"resourceType": kind, "id": ident}
        return walk(resource, resource, False, rest, at_hand)
    if not isinstance(value, dict) or (inner and step == "id"):
        return []
    if step not in value and outer is not None:
        step = next((f"{step}{end}" for end in ("Reference", "CodeableConcept") if step + end in value), step)
    child = value.get(step)
    return walk(child, outer_of(child, outer, step == "contained"), step == "contained", rest, at_hand)


def outer_of(child, outer, inner):
    return child if is_resource(child) and not inner else outer


def is_resource(value):
    return isinstance(value, dict) and "resourceType" in value


def simple(value):
    if isinstance(value, bool):
        return [str(value).lower()]
    if isinstance(value, int | float):
        return [str(value)]
    if isinstance(value, str):
        return [value] if value else []
    if isinstance(value, dict) and "reference" in value and local(value["reference"]):
        return ["/".join(local(value["reference"]))]
    return []


def local(text):
    text = text.split("/_history/")[0].removeprefix(BASE + "/")
    parts = text.split("/")
    return tuple(parts) if len(parts) == 2 and parts[0][:1].isupper() and is_id(parts[1]) else None


def is_id(text):
    return bool(re.fullmatch(r"[A-Za-z0-9.\-]{1,64}", text)) and text not in {".", ".."}


# --- chance ----------------------------------------------------------------------------------------------------


def some_reference(rng, inner=True):
    kind, ident = rng.choice(KINDS), f"r{rng.randrange(12)}"
    forms = [f"{kind}/{ident}"] * 5 + [
        f"{BASE}/{kind}/{ident}",
        f"{kind}/{ident}/_history/2",
        f"https://other.example/fhir/{kind}/{ident}",
        f"urn:uuid:{rng.randrange(4)}",
        f"#c{rng.randrange(2)}" if inner else "",
        f"{kind}?identifier=x",
    ]
    return {"reference": rng.choice(forms)} if rng.random() < 0.95 else {"display": "by hand"}


def some_resource(rng, ident=None, inner=False):
    resource = {"resourceType": rng.choice(KINDS)}
    if ident is not None or rng.random() < 0.8:
        resource["id"] = ident or f"r{rng.randrange(12)}"
    if not inner:
        resource["contained"] = [some_resource(rng, f"c{n}", inner=True) for n in range(rng.randrange(3))]
    resource["requester"] = some_reference(rng)
    resource["reasonReference"] = [some_reference(rng) for _ in range(rng.randrange(3))]
    resource[rng.choice(["medicationReference", "medicationCodeableConcept"])] = some_reference(rng)
    resource["code"] = {"coding": [{"code": rng.choice(["a,b", "c|d", "e$f", "g\\h", "ü €", "&x=1", "73761001"])}]}
    resource["flag"] = rng.choice([True, False, 7, 2.5, "", None, "on"])
    return resource


def some_bundle(rng):
    entries = [{"resource": some_resource(rng)} for _ in range(rng.randrange(4))]
    for number, entry in enumerate(entries):
        entry["fullUrl"] = f"urn:uuid:{number}" if rng.random() < 0.5 else f"{BASE}/X/{number}"
    return {"resourceType": "Bundle", "entry": entries + ([{"search": {}}] if rng.random() < 0.2 else [])}


def some_world(rng):
    context = {
        "patientId": "p1",
        "encounterId": rng.choice(["e1", ".", "a/b", "a&b"]),
        "userId": rng.choice(["Practitioner/d1", "PractitionerRole/d2", "Patient/p1", "RelatedPerson/q"]),
        "selections": [f"{rng.choice(KINDS)}/r{rng.randrange(12)}" for _ in range(rng.randrange(3))],
        "performer": rng.choice([f"Practitioner/r{rng.randrange(12)}", f"{BASE}/Practitioner/r1", "nobody"]),
        "draftOrders": some_bundle(rng),
        "order": some_resource(rng),
    }
    known = {"orders": some_bundle(rng), "one-more": some_resource(rng)}
    server = {}
    for _ in range(20):
        resource = some_resource(rng, f"r{rng.randrange(12)}")
        server.setdefault((resource["resourceType"], resource["id"]), resource)
    return context, {key: value for key, value in known.items() if rng.random() < 0.9}, server


ROOTS = [
    "context.draftOrders.entry.resource",
    "context.order",
    "%orders.entry.resource",
    "%one-more",
    "%`one-more`",
]


def some_path(rng):
    if rng.random() < 0.35:
        return rng.choice(["context.patientId", "context.encounterId", "context.selections", "context.nothing"])
    path = rng.choice([*ROOTS, "context.selections.resolve()", "context.performer.resolve()"])
    for _ in range(rng.randrange(3)):
        path += rng.choice(["", "", f".ofType({rng.choice(KINDS)})", ".contained"])
        path += rng.choice([".requester", ".reasonReference", ".medication"]) + ".resolve()"
        path += rng.choice(["", f".ofType({rng.choice(KINDS)})"])
    return path + rng.choice([".id", ".id", ".code.coding.code", ".flag", ".requester", ".medication", ".absent"])


def some_token(rng):
    if rng.random() < 0.1:
        return "{{" + rng.choice(list(USERS)) + "}}"
    if rng.random() < 0.1:
        moves = "".join(f" {rng.choice('+-')} {rng.randrange(400)} days" for _ in range(rng.randrange(3)))
        return "{{today()" + moves + "}}"
    return "{{" + rng.choice(["|", " | "]).join(some_path(rng) for _ in range(rng.choice([1, 1, 1, 2]))) + "}}"


def some_template(rng):
    form = rng.random()
    if form < 0.1:
        return rng.choice(["{{context.userId}}", "{{context.performer}}", "{{context.order.requester}}"])
    if form < 0.25:
        return rng.choice(KINDS) + "/" + rng.choice(["fixed", some_token(rng)])
    values = [
        rng.choice(["", "", "gt", "a,", "http://loinc.org|"])
        + some_token(rng)
        + rng.choice(["", "", "", ",b", "c"])
        for _ in range(rng.choice([1, 1, 2]))
    ]
    pairs = [f"{rng.choice(['_id', 'code', 'date', 'code:in'])}={value}" for value in values]
    pairs += rng.sample(["_count=5", "sort:desc=date", "_sort=-date", "status=active"], rng.randrange(3))
    rng.shuffle(pairs)
    return rng.choice(KINDS) + "?" + "&".join(pairs)


def looked_up_as_needed(query, context, known, server):
    """Return what `fill` comes to, giving it from the server just what it asks for."""
    looked_up, rounds = {}, 0
    while True:
        filled = fill(query, Scope(context, TODAY, BASE, known, looked_up))
        if not filled.wanted:
            return filled.query, rounds
        assert not filled.wanted & looked_up.keys()
        looked_up |= {target: server.get(target) for target in filled.wanted}
        rounds += 1


def test_ten_thousand_templates_are_filled_as_by_the_reference():
    rng = random.Random(20261126)
    asked = followed = 0
    for _ in range(WORLDS):
        context, known, server = some_world(rng)
        for _ in range(TEMPLATES // WORLDS):
            template = some_template(rng)
            got, rounds = looked_up_as_needed(parse_query(template), context, known, server)
            assert got == reference(template, context, known, list(server.values())), template
            asked += got is not None
            followed += rounds > 0
    # Else the comparison would be one of nothing with nothing.
    assert asked > TEMPLATES // 3
    assert followed > TEMPLATES // 20
