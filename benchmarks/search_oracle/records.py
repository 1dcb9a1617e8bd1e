"""Random resources that refer to each other, with the oddities that real ones have."""

import json

LOINC, SNOMED, UCUM = "http://loinc.org", "http://snomed.info/sct", "http://unitsofmeasure.org"
MRN = "http://terminology.hl7.org/CodeSystem/v2-0203"
CODES = [(LOINC, "2339-0"), (LOINC, "4548-4"), (SNOMED, "427359005"), (None, "local"), (LOINC, "a,b|c$d")]
WORDS = ["Heart rate", "HbA1c", "Ärger im Blut", "blood  pressure"]
NAMES = ["Zzcanary", "zzcanàry", "Łoś", "de la Cruz", "O'Brien", "Ann"]
TIMES = ["2024", "2024-05", "2024-05-17", "2024-05-17T10:00:00Z", "2024-05-17T10:00:00.250+02:00", "2023-12-31"]
NUMBERS = ["6.5", "6.50", "6.45", "6.55", "0.065", "65", "100", "-3", "0", "99.6", "1e2"]
UNITS = [(UCUM, "%", "percent"), (UCUM, "1", ""), (UCUM, "mg", "milligram"), (UCUM, "g", "gram"),
         (UCUM, "kg", "kilo"), (UCUM, "mm[Hg]", "mmHg"), (UCUM, "Pa", ""), ("urn:units", "tab", "tablets"),
         (None, None, "tablets"), (None, None, "mg"), (None, None, None)]  # fmt: skip
URIS = ["http://acme.example/fhir/ValueSet/a", "http://acme.example/fhir/ValueSet/a/b", "http://acme.example/fhir",
        "http://acme.example/fhirs", "urn:oid:1.2.3", "urn:oid:1.2.3.4"]  # fmt: skip
PATIENTS = [f"p{number}" for number in range(6)]
OBSERVATIONS = 50
STUDIES = ["ImagingStudy/s1", "http://other.example/fhir/ImagingStudy/s1"]


class Number(str):
    """A decimal as it is written: JSON keeps its digits."""

    __slots__ = ()


def make_records(rng):
    """Return {"Type/id": resource}."""
    made = {}
    for number in range(3):
        made[f"Organization/org{number}"] = {"name": rng.choice(NAMES)} | (
            {"partOf": {"reference": f"Organization/org{number - 1}"}} if number else {}
        )
        made[f"Practitioner/doc{number}"] = {"name": [{"family": rng.choice(NAMES)}]}
    for name in PATIENTS:
        made[f"Patient/{name}"] = _patient(rng)
    for number in range(8):
        made[f"Encounter/e{number}"] = _encounter(rng)
    for number in range(OBSERVATIONS):
        made[f"Observation/o{number:02}"] = _observation(rng, number)
    for number in range(12):
        made[f"RiskAssessment/r{number}"] = _risk(rng)
        made[f"Provenance/pr{number}"] = {
            "target": [{"reference": f"Observation/o{rng.randrange(OBSERVATIONS):02}"}],
            "recorded": "2024-05-17T10:00:00Z",
            "agent": [{"who": {"reference": f"Practitioner/doc{rng.randrange(3)}"}}],
        }
    for number, uri in enumerate(URIS):
        made[f"ValueSet/v{number}"] = {"status": "draft", "url": uri}
    return {
        name: {"resourceType": name.split("/")[0], "id": name.split("/")[1], **one} for name, one in made.items()
    }


def _maybe(rng, share, **members):
    return members if rng.random() < share else {}


def _patient(rng):
    identifiers = [{"system": "urn:mrn", "value": str(rng.randrange(4))}]
    if rng.random() < 0.5:
        identifiers[0]["type"] = {"coding": [{"system": MRN, "code": "MR"}], "text": "Medical record number"}
    return {
        "identifier": identifiers,
        "name": [{"family": rng.choice(NAMES), "given": rng.sample(NAMES, 2)}],
        **_maybe(rng, 0.7, gender=rng.choice(["male", "female"])),
        **_maybe(rng, 0.7, birthDate=rng.choice(["1970", "1970-03", "1970-03-04", "2001-01-01"])),
        **_maybe(rng, 0.6, active=rng.random() < 0.5),
        **_maybe(rng, 0.7, managingOrganization={"reference": f"Organization/org{rng.randrange(3)}"}),
        **_maybe(rng, 0.6, generalPractitioner=[{"reference": f"Practitioner/doc{rng.randrange(3)}"}]),
    }


def _concept(rng):
    codings = []
    for system, code in rng.sample(CODES, rng.choice([0, 1, 1, 1, 2])):
        codings.append({"code": code} | ({"system": system} if system else {}))
        if rng.random() < 0.4:
            codings[-1]["display"] = rng.choice(WORDS)
    said = {"coding": codings} if codings else {}
    return said | (_maybe(rng, 0.4, text=rng.choice(WORDS)) if codings else {"text": rng.choice(WORDS)})


def _quantity(rng):
    system, code, unit = rng.choice(UNITS)
    members = {"system": system, "code": code, "unit": unit or None}
    return {
        "value": Number(rng.choice(NUMBERS)),
        **{name: value for name, value in members.items() if value},
        **_maybe(rng, 0.15, comparator=rng.choice(["<", ">", "<=", ">="])),
    }


def _when(rng, name):
    kind = rng.random()
    if kind < 0.6:
        return {f"{name}DateTime": rng.choice(TIMES)}
    if kind < 0.8:
        ends = {"start": "2024-03-01", "end": "2024-05-20"}
        return {
            f"{name}Period": {each: ends[each] for each in rng.choice([("start", "end"), ("start",), ("end",)])}
        }
    return {}


def _subject(rng):
    kind = rng.random()
    if kind < 0.75:
        return {"reference": f"Patient/{rng.choice(PATIENTS)}"}
    if kind < 0.85:
        return {"reference": "Group/g1"}
    return {"identifier": {"system": "urn:mrn", "value": str(rng.randrange(4))}, "display": "somebody"}


def _observation(rng, number):
    made = {
        "status": rng.choice(["final", "preliminary", "amended"]),
        "code": _concept(rng),
        "identifier": [{"system": "urn:x", "value": f"n{number}"}],
        **_maybe(rng, 0.9, subject=_subject(rng)),
        **_maybe(rng, 0.7, category=[{"coding": [{"system": "urn:cat", "code": rng.choice(["imaging", "lab"])}]}]),
        **_when(rng, "effective"),
        **_maybe(rng, 0.3, performer=[{"reference": f"Practitioner/doc{rng.randrange(3)}"}]),
        **_maybe(rng, 0.3, encounter={"reference": f"Encounter/e{rng.randrange(8)}"}),
        **_maybe(rng, 0.3, derivedFrom=[{"reference": rng.choice([*STUDIES, f"Observation/o{number:02}"])}]),
    }
    if rng.random() < 0.4:
        made["component"] = [
            {"code": _concept(rng), "valueQuantity": _quantity(rng)} for _ in range(rng.choice([1, 2, 3]))
        ]
        for one in made["component"]:
            one["code"].setdefault("coding", []).append({"system": "urn:component", "code": rng.choice("xy")})
    elif rng.random() < 0.8:
        made["valueQuantity"] = _quantity(rng)
    return made


def _encounter(rng):
    return {
        "status": rng.choice(["finished", "planned"]),
        "class": {"system": "urn:class", "code": rng.choice(["AMB", "IMP"])},
        "subject": {"reference": f"Patient/{rng.choice(PATIENTS)}"},
        "period": {"start": rng.choice(["2024-05-17", "2024-01-01"])},
    }


def _risk(rng):
    return {
        "status": "final",
        "subject": {"reference": f"Patient/{rng.choice(PATIENTS)}"},
        **_when(rng, "occurrence"),
        "prediction": [
            {"probabilityDecimal": Number(rng.choice(["6.5", "6.45", "65", "100", "99.6", "0"]))}
            for _ in range(rng.choice([0, 1, 2]))
        ]
        or [{"rationale": "none"}],
    }


def written(value):
    """Return JSON with every number as it was written."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{written(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    return json.dumps(value)
