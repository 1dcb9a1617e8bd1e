"""The profiles of HL7 AI Transparency on FHIR (hl7.fhir.uv.aitransparency, STU1 ballot) as checks, for tests.

Written from the guide's FHIR Shorthand (HL7/aitransparency-ig: AIDevice, AIProvenance, AIconfidence) and
not from our builders, so that the two can disagree.
"""

import base64
import hashlib
import re

GUIDE = "http://hl7.org/fhir/uv/aitransparency"
DEVICE_TYPES = f"{GUIDE}/CodeSystem/AIdeviceTypeCS"
INPUTS = f"{GUIDE}/CodeSystem/AIinputsCS"
AIAST = ("http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "AIAST")
AI = {"coding": [{"system": DEVICE_TYPES, "code": "Artificial-Intelligence"}]}
PERFORMERS = {"Observation": "device", "RiskAssessment": "performer", "DiagnosticReport": "performer"}
ASSERTED = frozenset(PERFORMERS)
ALTERNATE = "http://hl7.org/fhir/StructureDefinition/alternate-reference"
AI_KINDS = {
    "Machine-Learning-Models", "Deep-Learning-Models", "Deterministic-AI", "Medical-Image-Analysis",
    "Clinical-Monitoring-and-Early-Warning", "AI-for-Medical-Imaging-Data", "AI-for-Physiological-Signal-Data",
    "AI-for-Structured-Clinical-Data", "AI-for-Multimodal-Data",
}  # fmt: skip


def faults_of(resources):
    """Return what is wrong with a set of resources that one or several models made, in words."""
    by_name = {f"{each['resourceType']}/{each['id']}": each for each in resources}
    faults = []
    for name, resource in by_name.items():
        check = _CHECKS.get(resource["resourceType"])
        faults += [f"{name}: {fault}" for fault in (check(resource, by_name) if check else ())]
        if resource["resourceType"] in ASSERTED:
            faults += [f"{name}: {fault}" for fault in _asserted(resource, by_name)]
        faults += [f"{name}: {fault}" for fault in _confidences(resource)]
    return faults


def codes(concept):
    return [(each.get("system"), each.get("code")) for each in (concept or {}).get("coding", [])]


def extensions(element, url):
    return [each for each in element.get("extension", []) if each["url"] == url]


def _device(resource, by_name):
    if codes(resource.get("type")) != [(DEVICE_TYPES, "Artificial-Intelligence")]:
        yield "Device.type is not Artificial-Intelligence"
    kinds = extensions(resource, f"{GUIDE}/StructureDefinition/aitransparency.AIKind")
    for kind in kinds:
        for system, code in codes(kind["valueCodeableConcept"]):
            if system != DEVICE_TYPES or code not in AI_KINDS:
                yield f"AIKind {code} is no code of the guide"
    if not kinds:
        yield "no AIKind"
    cards = extensions(resource, f"{GUIDE}/StructureDefinition/aitransparency.modelCardDescription")
    if not [each for each in cards if each["valueReference"]["reference"] in by_name]:
        yield "no model card that is here"
    for must in ("identifier", "deviceName", "version"):
        if must not in resource:
            yield f"no {must}"


def _model_card(resource, _by_name):
    if codes(resource.get("type")) != [(INPUTS, "AIModelCard")]:
        yield "DocumentReference.type is not AIModelCard alone"  # the slicing is closed
    if (INPUTS, "AIModelCardMarkdownFormat") not in [one for each in resource["category"] for one in codes(each)]:
        yield "no category of its format"
    (content,) = resource["content"]
    attachment = content["attachment"]
    if attachment["contentType"] != "text/markdown":
        yield "not text/markdown"
    data = base64.b64decode(attachment["data"], validate=True)
    if attachment["size"] != len(data) or base64.b64decode(attachment["hash"]) != hashlib.sha1(data).digest():
        yield "size or hash (SHA-1, R4 2.24.0.8) are not those of the data"


def _provenance(resource, by_name):
    if f"{GUIDE}/StructureDefinition/AI-Provenance" not in resource.get("meta", {}).get("profile", []):
        return
    if [one for each in resource.get("reason", []) for one in codes(each)] != [AIAST]:
        yield "reason[AIReason] is not there once"
    agents = [each for each in resource["agent"] if AI in each.get("role", [])]
    if not agents:
        yield "no agent whose role is exactly Artificial-Intelligence"
    for agent in agents:
        if not agent.get("type"):
            yield "an AI agent without type"
        if by_name.get(agent["who"]["reference"], {}).get("resourceType") != "Device":
            yield "an AI agent is no Device that is here"
    for target in resource["target"]:
        if not re.fullmatch(r"[A-Za-z]+/[^/]+/_history/[0-9]+", target["reference"]):
            yield "a target without its version"
    entities = resource.get("entity", [])
    derived = [each["what"] for each in entities if each["role"] == "derivation"]
    if not any(_is_card(by_name, what) for what in derived):
        yield "no model card (role derivation)"
    digests = [what["identifier"] for what in derived if "identifier" in what and "reference" not in what]
    if not any(re.fullmatch(r"[0-9a-f]{64}", one["value"]) for one in digests):
        yield "no digest of the model"
    sources = [each["what"] for each in entities if each["role"] == "source"]
    if not any(
        "reference" not in what and re.fullmatch(r"[0-9a-f]{64}", what["identifier"]["value"]) for what in sources
    ):
        yield "no digest of what the model read"


def _is_card(by_name, what):
    name, _, version = what.get("reference", "").partition("/_history/")
    return bool(version) and by_name.get(name, {}).get("resourceType") == "DocumentReference"


def _asserted(resource, by_name):
    if AIAST not in [(each["system"], each["code"]) for each in resource.get("meta", {}).get("security", [])]:
        yield "no label AIAST"
    said = resource.get(PERFORMERS[resource["resourceType"]])
    named = (
        [one["valueReference"] for each in said for one in extensions(each, ALTERNATE)]
        if isinstance(said, list)
        else [said]
    )
    for who in named:
        if by_name.get((who or {}).get("reference"), {}).get("resourceType") != "Device":
            yield "not by a Device that is here"
    if not named:
        yield "by nobody"
    if resource["resourceType"] == "Observation":
        (performer,) = resource["performer"]
        if "reference" in performer or not extensions(performer, ALTERNATE):
            yield "Observation.performer is not an alternate-reference"
    targets = [
        target["reference"].partition("/_history/")[0]
        for each in by_name.values()
        if each["resourceType"] == "Provenance"
        for target in each["target"]
    ]
    if f"{resource['resourceType']}/{resource['id']}" not in targets:
        yield "no Provenance names it"
    for prediction in resource.get("prediction", []):
        if "probabilityDecimal" not in prediction:
            continue  # said in words
        percent = prediction["probabilityDecimal"]
        (confidence,) = [each["valueDecimal"] for each in extensions(prediction["outcome"], CONFIDENCE)]
        if not 0 <= percent <= 100 or abs(percent - 100 * confidence) > 0.051:
            yield "probabilityDecimal is not the confidence in percent"


CONFIDENCE = f"{GUIDE}/StructureDefinition/AIconfidence"


def _confidences(value):
    if isinstance(value, list):
        for each in value:
            yield from _confidences(each)
    elif isinstance(value, dict):
        if value.get("url") == CONFIDENCE:
            (name,) = [each for each in value if each.startswith("value")]
            if name == "valueDecimal" and not 0 <= value[name] <= 1:
                yield "a confidence is not within 0..1"
            if name not in ("valueDecimal", "valueQuantity", "valueRange", "valueCodeableConcept", "valueString"):
                yield f"AIconfidence has no {name}"
        for each in value.values():
            yield from _confidences(each)


_CHECKS = {"Device": _device, "DocumentReference": _model_card, "Provenance": _provenance}
