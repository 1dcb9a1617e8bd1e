"""Write `summary.json.xz` from the published definitions: python -m <this module> PACKAGE_FOLDER.

PACKAGE_FOLDER: as in `compile`. By the path of a resource or of a part of one: [names that a summary holds
(isSummary, R4 3.1.1.5.8), names that change the meaning of the others (isModifier), which no answer leaves out].
"""

import sys
from pathlib import Path
from typing import Any

from fhir_adapters.definitions.compile import resources_of
from fhir_adapters.definitions.packed import packed

OUTPUT = Path(__file__).with_name("summary.json.xz")


def compile_summary(folder: Path) -> bytes:
    """Return the table of the package in `folder`, as an xz file."""
    published = folder / "dist" / "fhir" / "r4" / "profiles-resources.json"
    table: dict[str, list[list[str]]] = {}
    for definition in resources_of(published, "StructureDefinition"):
        if definition["kind"] == "resource":
            for element in definition["snapshot"]["element"]:
                _add(table, element)
    return packed(table)


def _add(table: dict[str, list[list[str]]], element: dict[str, Any]) -> None:
    place, _, name = element["path"].rpartition(".")
    if not place:
        return
    summary, modifiers = table.setdefault(place, [[], []])
    if element.get("isSummary"):
        summary.append(name)
    if element.get("isModifier"):
        modifiers.append(name)


def main() -> None:
    """Write the file beside this one and say how large it is."""
    OUTPUT.write_bytes(compile_summary(Path(sys.argv[1])))
    sys.stdout.write(f"{OUTPUT.name}: {OUTPUT.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
