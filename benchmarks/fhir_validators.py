"""Which seeded faults each validator finds, and which sound resources it blames: ours beside public ones.

    python -m benchmarks.fhir_validators [--site FOLDER]

The faults are those of tests/fhir_adapters/validation/test_faults.py (one each in a valid R4 resource); sound are
the resources that they are seeded into, and published HL7 definitions where `make definitions` has fetched them.
The others are no packages of ours: `pip install --target FOLDER pyfhircheck fhirkit-rs`, and --site FOLDER;
fhir.resources (R4B) is one of the tests. A validator counts as finding a fault when it tells any error, wherever.
"""

import argparse
import json
import sys
from decimal import Decimal
from functools import cache
from importlib import import_module, metadata
from pathlib import Path

from fhir_adapters.validation import problems_of
from tests.fhir_adapters.validation.test_faults import FAULTS, with_fault
from tests.fhir_adapters.validation.valid import VALID

PUBLISHED = Path(__file__).parents[1] / "build" / "definitions" / "package" / "dist" / "fhir" / "r4"
SOUND_OF_EACH = 200


def ours(resource):
    """Tell whether ours finds an error."""
    return any(one.severity == "error" for one in problems_of(resource))


def fhirkit(resource):
    """Tell whether fhirkit-rs finds an error."""
    kit = import_module("fhirkit")
    try:
        return any(one.severity == "error" for one in kit.validate(written(resource)))
    except ValueError:
        return True


def pyfhircheck(resource):
    """Tell whether pyfhircheck, as it is installed, finds an error."""
    report = _checker().validate_resource(json.loads(written(resource)))
    return any(str(getattr(one, "severity", "")).lower().endswith(("error", "fatal")) for one in report.issues)


@cache
def _checker():
    return import_module("pyfhircheck").Validator()


def r4b(resource):
    """Tell whether fhir.resources' R4B model refuses it."""
    name = str(resource.get("resourceType"))
    try:
        model = getattr(import_module(f"fhir.resources.R4B.{name.lower()}"), name)
        model.model_validate_json(written(resource))
    except (ValueError, ImportError, AttributeError):
        return True
    return False


def written(resource):
    """Return a resource as JSON; Decimals as the numbers that they are."""
    return json.dumps(resource, default=lambda value: float(value) if isinstance(value, Decimal) else str(value))


def sound():
    """Return resources that nothing is wrong with."""
    found = list(VALID.values())
    for name in ("profiles-types.json", "valuesets.json", "search-parameters.json"):
        if (PUBLISHED / name).exists():
            entries = json.loads((PUBLISHED / name).read_bytes())["entry"]
            found += [entry["resource"] for entry in entries[:SOUND_OF_EACH]]
    return found


def main():
    """Judge everything with everybody that is here; print a table and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", type=Path, help="folder that the other validators are installed in")
    given = parser.parse_args()
    if given.site:
        sys.path.append(str(given.site))
    judges = {"ours": ours, "fhir.resources R4B": r4b}
    for name, judge in (("pyfhircheck", pyfhircheck), ("fhirkit-rs", fhirkit)):
        try:
            judges[f"{name} {metadata.version(name)}"] = judge
        except metadata.PackageNotFoundError:
            print(f"{name} is not here (see --site)", file=sys.stderr)
    faulty = [with_fault(kind, path, value) for kind, path, value, *_ in FAULTS]
    well = sound()
    agreed = [ours(one) for one in faulty]
    table = {}
    for name, judge in judges.items():
        caught = [judge(one) for one in faulty]
        table[name] = {
            "faults_found": sum(caught),
            "of": len(faulty),
            "sound_blamed": sum(judge(one) for one in well),
            "sound": len(well),
            "agrees_with_ours": sum(mine == theirs for mine, theirs in zip(agreed, caught, strict=True)),
        }
        print(f"{name}: {table[name]}", flush=True)
    print(json.dumps(table))


if __name__ == "__main__":
    main()
