"""Write `clinical/ucum.json` from UCUM's own table: python -m fhir_adapters.definitions.compile_ucum XML.

XML: `ucum-essence.xml` as Regenstrief publishes it (the package `ucumvert` carries it). Prefixes, atoms with the
value that defines them, and which of them take a prefix; names and symbols for people are left out.
"""

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import clinical

OUTPUT = Path(next(iter(clinical.__path__))) / "ucum.json"
_NAMESPACE = {"u": "http://unitsofmeasure.org/ucum-essence"}


def compile_units(source: Path) -> str:
    """Return the table as JSON. source: ucum-essence.xml."""
    root = Xml.parse(source).getroot()  # noqa: S314 - a published file that the developer names
    atoms = {one.attrib["Code"]: _atom(one) for one in root.findall("u:unit", _NAMESPACE)}
    table = {
        "version": root.attrib["version"],
        "prefixes": {one.attrib["Code"]: _value(one)["value"] for one in root.findall("u:prefix", _NAMESPACE)},
        "base": [one.attrib["Code"] for one in root.findall("u:base-unit", _NAMESPACE)],
        "atoms": atoms,
    }
    return json.dumps(table, indent=0, ensure_ascii=False) + "\n"


def _atom(unit: Xml.Element) -> dict[str, Any]:
    value = _value(unit)
    function = unit.find("u:value/u:function", _NAMESPACE)
    atom: dict[str, Any] = {"value": value.get("value", "1"), "unit": value["Unit"]}
    if unit.get("isMetric") == "yes":
        atom["metric"] = True
    if unit.get("isArbitrary") == "yes":
        atom["arbitrary"] = True
    if function is not None:
        atom |= {"function": function.attrib["name"], **{k.lower(): function.attrib[k] for k in ("value", "Unit")}}
    return atom


def _value(element: Xml.Element) -> dict[str, str]:
    found = element.find("u:value", _NAMESPACE)
    if found is None:
        raise ValueError(element.get("Code"))
    return dict(found.attrib)


def main() -> None:
    """Write the table and say how large it is."""
    OUTPUT.write_text(compile_units(Path(sys.argv[1])), encoding="utf-8")
    sys.stdout.write(f"{OUTPUT.name}: {OUTPUT.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
