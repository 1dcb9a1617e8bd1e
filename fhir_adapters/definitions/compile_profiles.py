"""Write `profiles.json.xz`: python -m fhir_adapters.definitions.compile_profiles PACKAGE_FOLDER.

PACKAGE_FOLDER: as of `compile`. Kept are R4's own profiles of resources (vital signs, lipids and others), of each
element what `profile` reads, and the required value sets that only they name.
"""

import sys
from pathlib import Path
from typing import Any

from fhir_adapters.definitions.compile import TERMINOLOGY, resources_of
from fhir_adapters.definitions.packed import packed
from fhir_adapters.definitions.value_sets import expansions

OUTPUT = Path(__file__).with_name("profiles.json.xz")
_HEAD = ("resourceType", "url", "version", "name", "type", "kind")
_READ = ("id", "path", "sliceName", "min", "max", "base", "type", "slicing", "binding", "constraint")

Json = dict[str, Any]


def compile_profiles(folder: Path) -> bytes:
    """Return the profiles of the package in `folder`, as an xz file."""
    published = folder / "dist" / "fhir" / "r4"
    profiles = [
        _small(one)
        for one in resources_of(published / "profiles-others.json", "StructureDefinition")
        if one["kind"] == "resource" and one.get("derivation") == "constraint"
    ]
    bound = {
        row["binding"]["valueSet"].split("|")[0]
        for one in profiles
        for row in one["snapshot"]["element"]
        if "binding" in row
    }
    terminology = [one for name in TERMINOLOGY for one in resources_of(published / name)]
    tables = {"profiles": profiles, "value_sets": expansions(terminology, bound)[0]}
    return packed(tables)


def _small(definition: Json) -> Json:
    rows = [_small_row(row) for row in definition["snapshot"]["element"]]
    return {name: definition[name] for name in _HEAD if name in definition} | {"snapshot": {"element": rows}}


def _small_row(row: Json) -> Json:
    kept = {name: value for name, value in row.items() if name in _READ or name.startswith(("fixed", "pattern"))}
    if row.get("binding", {}).get("strength") != "required" or "valueSet" not in row.get("binding", {}):
        kept.pop("binding", None)
    kept["constraint"] = [
        {name: one[name] for name in ("key", "severity", "source") if name in one}
        for one in row.get("constraint", ())
    ]
    return kept


def main() -> None:
    """Write the file beside this one and say how large it is."""
    OUTPUT.write_bytes(compile_profiles(Path(sys.argv[1])))
    sys.stdout.write(f"{OUTPUT.name}: {OUTPUT.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
