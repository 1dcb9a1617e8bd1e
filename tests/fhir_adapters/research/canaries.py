"""Resources that hold a canary in every element that can hold text, made by walking R4's definitions.

Two kinds: `wild`, in which codes, systems, URLs and units are canaries too, and `tame`, in which all of those are
what may be kept, so that only what stands beside them can give somebody away.
"""

import itertools
from decimal import Decimal

from fhir_adapters.definitions.structure import structure_of

DEEPEST = 7
DATES = {"date": "1999-03-14", "dateTime": "1999-03-14T05:06:07+01:00", "instant": "1999-03-14T05:06:07.123Z"}
NUMBERS = {"boolean": True, "decimal": Decimal("12.5"), "integer": 3, "positiveInt": 4, "unsignedInt": 5}
KEPT_URL = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race"


class Canaries:
    """texts: every text that was hidden somewhere."""

    def __init__(self, *, tame):
        self.tame, self.texts = tame, []
        self._numbers = itertools.count(1)

    def text(self):
        self.texts.append(f"zq{next(self._numbers)}leak")
        return self.texts[-1]

    def resource(self, kind, depth=0):
        made = {"resourceType": kind} | self.object(kind, depth)
        made["id"] = self.text()
        made.pop("modifierExtension", None)
        return made

    def object(self, kind, depth):
        made = {}
        for name, element in structure_of(kind).elements.items():
            if name in ("contained", "modifierExtension") and depth:
                continue
            if name == "modifierExtension" and kind != "Extension":
                continue
            value = self.value(element, depth + 1)
            if value is None:
                continue
            made[name] = [value] if element.many else value
            if element.is_primitive:
                beside = {"id": self.text(), "extension": [{"url": KEPT_URL, "valueString": self.text()}]}
                made[f"_{name}"] = [beside] if element.many else beside
        return made

    def value(self, element, depth):
        kind = element.kind
        if kind in DATES:
            return DATES[kind]
        if kind in NUMBERS:
            return NUMBERS[kind]
        if kind == "time":
            return "05:06:07"
        if kind == "code" and self.tame and element.binding:
            return next((code for codes in element.binding.values() for code in sorted(codes or ())), self.text())
        if element.is_primitive:
            return self.text()
        if depth > DEEPEST:
            return None
        if kind == "Resource":
            return self.resource("Patient", depth) if depth < 3 else None
        if kind == "Extension":
            return self.extension(depth)
        return self.tamed(kind, self.object(kind, depth))

    def extension(self, depth):
        if depth > 3:
            return None
        if not self.tame:
            return {"url": self.text(), "valueString": self.text()}
        inner = [{"url": "text", "valueString": self.text()}, {"url": "detailed", "valueCode": self.text()}]
        return {"url": KEPT_URL, "id": self.text(), "extension": [*inner, self.value_of_extension(depth)]}

    def value_of_extension(self, depth):
        return {"url": "detailed", "valueHumanName": self.object("HumanName", depth + 1), "valueUri": self.text()}

    def tamed(self, kind, made):
        if not self.tame:
            return made
        if kind == "Coding":
            made |= {"system": "http://loinc.org", "code": "8867-4"}
        if kind in ("Quantity", "Age", "Count", "Distance", "Duration"):
            made |= {"system": "http://unitsofmeasure.org", "code": f"{{{self.text()}}}/min"}
        if kind == "Reference":
            made |= {"reference": "Patient/known"}
        if kind == "Address":
            made |= {"country": "US", "state": "MA"}
        if kind == "Identifier":
            made |= {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3.4.17"}
        return made
