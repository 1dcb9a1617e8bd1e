"""What a message becomes as a FHIR Bundle: to be looked at, tested, or sent to another server."""

from typing import Any

from fhir_adapters.hl7v2.parts import WITHIN, Mapped, Part, Way, pruned, references

Json = dict[str, Any]


def as_bundle(mapped: Mapped, base_url: str = "urn:consilium:hl7v2") -> Json:
    """Return a transaction of updates by id; what is only mentioned is told by its identifier."""
    kept = {part.reference for part in mapped.parts if part.way is not Way.MENTION}
    entries = [_entry(part, kept, base_url) for part in mapped.parts if part.way is not Way.MENTION]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def _entry(part: Part, kept: set[str], base_url: str) -> Json:
    resource = complete(part)
    for reference in references(resource):
        if reference["reference"] not in kept:
            del reference["reference"]
    return {
        "fullUrl": f"{base_url}/{part.reference}",
        "resource": resource,
        "request": {"method": "PUT", "url": part.reference},
    }


def complete(part: Part) -> Json:
    """Return the resource that a part makes where there is none yet."""
    content = {"resourceType": part.type, "id": part.id, **part.defaults, **part.resource}
    for name in WITHIN:
        if name in content:
            content[name] = pruned(content[name])
            if not content[name]:
                del content[name]
    if content.get("presentedForm") == []:  # all that it had were withdrawn
        del content["presentedForm"]
    return content
