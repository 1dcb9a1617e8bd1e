"""Where the values of each search parameter stand in the JSON, written out by hand from R4's definitions."""

from benchmarks.search_oracle.compare import period, span

FHIR = "http://hl7.org/fhir/"


def many(resource, *path):
    """Yield what stands at a path, lists unrolled."""
    found = [resource]
    for name in path:
        found = [one for each in found if isinstance(each, dict) and name in each for one in _items(each[name])]
    return found


def _items(value):
    return value if isinstance(value, list) else [value]


def concepts(*path):
    """Return what reads (system, code, words) of CodeableConcepts; code None where there are only words."""

    def tokens(resource):
        for concept in many(resource, *path):
            codings = concept.get("coding", [])
            for one in codings:
                yield one.get("system"), one["code"], one.get("display", "")
            if "text" in concept:
                yield None, None, concept["text"]

    return tokens


def identifiers(resource):
    """Read Identifiers, with the words of their types."""
    for one in resource.get("identifier", []):
        yield one.get("system"), one["value"], one.get("type", {}).get("text", "")


def code(name, system):
    """Return what reads a code whose system is implied."""
    return lambda resource: [(system, one, "") for one in many(resource, name)]


def coding(name):
    """Return what reads a Coding."""
    return lambda resource: [(one.get("system"), one["code"], "") for one in many(resource, name)]


def active(resource):
    """Read a boolean."""
    return [(None, str(one).lower(), "") for one in many(resource, "active")]


def human_names(resource):
    """Read all parts of names."""
    return [part for name in ("family", "given") for part in many(resource, "name", name)]


def dates(name):
    """Return what reads the date or the period of a choice."""

    def spans(resource):
        found = [span(one) for one in many(resource, f"{name}DateTime")]
        return found + [period(one) for one in many(resource, f"{name}Period")]

    return spans


TOKENS = {
    "Patient": {
        "identifier": identifiers,
        "gender": code("gender", FHIR + "administrative-gender"),
        "active": active,
    },
    "Observation": {
        "identifier": identifiers,
        "status": code("status", FHIR + "observation-status"),
        "code": concepts("code"),
        "category": concepts("category"),
        "component-code": concepts("component", "code"),
        "combo-code": lambda resource: [*concepts("code")(resource), *concepts("component", "code")(resource)],
    },
    "Encounter": {"status": code("status", FHIR + "encounter-status"), "class": coding("class")},
}
STRINGS = {
    "Patient": {"name": human_names, "family": lambda one: many(one, "name", "family")},
    "Practitioner": {"name": human_names},
    "Organization": {"name": lambda one: many(one, "name")},
}
DATES = {
    "Patient": {"birthdate": lambda one: [span(each) for each in many(one, "birthDate")]},
    "Observation": {"date": dates("effective")},
    "RiskAssessment": {"date": lambda one: [span(each) for each in many(one, "occurrenceDateTime")]},
    "Encounter": {"date": lambda one: [period(each) for each in many(one, "period")]},
    "Provenance": {"recorded": lambda one: [span(each) for each in many(one, "recorded")]},
}
NUMBERS = {"RiskAssessment": {"probability": lambda one: many(one, "prediction", "probabilityDecimal")}}
QUANTITIES = {
    "Observation": {
        "value-quantity": lambda one: many(one, "valueQuantity"),
        "component-value-quantity": lambda one: many(one, "component", "valueQuantity"),
        "combo-value-quantity": lambda one: [
            *many(one, "valueQuantity"),
            *many(one, "component", "valueQuantity"),
        ],
    }
}
URIS = {"ValueSet": {"url": lambda one: many(one, "url")}}
# parameter -> (path, the types that it means)
REFERENCES = {
    "Patient": {
        "organization": (("managingOrganization",), ["Organization"]),
        "general-practitioner": (("generalPractitioner",), ["Practitioner", "Organization", "PractitionerRole"]),
    },
    "Organization": {"partof": (("partOf",), ["Organization"])},
    "Observation": {
        "subject": (("subject",), ["Patient", "Group", "Device", "Location"]),
        "patient": (("subject",), ["Patient"]),
        "encounter": (("encounter",), ["Encounter"]),
        "performer": (("performer",), ["Practitioner", "Patient", "Organization"]),
        "derived-from": (("derivedFrom",), ["Observation", "ImagingStudy"]),
    },
    "Encounter": {"patient": (("subject",), ["Patient"])},
    "RiskAssessment": {"patient": (("subject",), ["Patient"]), "subject": (("subject",), ["Patient", "Group"])},
    "Provenance": {"target": (("target",), ["Observation"]), "agent": (("agent", "who"), ["Practitioner"])},
}
# parameter -> paths of the elements that it joins over
COMPOSITES = {
    "code-value-quantity": ((),),
    "component-code-value-quantity": (("component",),),
    "combo-code-value-quantity": ((), ("component",)),
}


def references(resource, name):
    """Return the References of a parameter, those of other types left out."""
    path, types = REFERENCES[resource["resourceType"]][name]
    found = many(resource, *path)
    if name == "patient":
        return [one for one in found if one.get("reference", "Patient/").split("/")[-2] in types]
    return found
