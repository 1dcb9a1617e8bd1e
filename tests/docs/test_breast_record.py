"""docs/breast-record.md lists exactly the codes that the server reads."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

from clinical.breast_codes import BREAST_RECORD
from clinical.codes import DICOM_DCM, SNOMED_CT
from fhir_adapters.features.breast_lesion import lesion_record

PAGE = (Path(__file__).parents[2] / "docs" / "breast-record.md").read_text(encoding="utf-8")
SHORT = {DICOM_DCM: "DCM", SNOMED_CT: "SCT"}


def named(codes):
    """Return codes as the page writes them: ours without a system, others with a short one."""
    return ", ".join(
        f"`{SHORT[code.system]} {code.code}`" if code.system in SHORT else f"`{code.code}`" for code in codes
    )


def rows():
    for feature in BREAST_RECORD[1:]:
        yield f"| **{feature.label}** | {named(feature.codes)} |"
        for value in feature.values:
            yield f"| {value.label} | {named(value.codes)} |"


def test_every_feature_and_value_has_its_row_in_order():
    listed = [line for line in PAGE.splitlines() if re.match(r"\| .*`", line)]
    assert listed == list(rows())


def test_the_example_is_read_as_the_page_says():
    (example,) = re.findall(r"```json\n(.*?)```", PAGE, re.S)
    record = lesion_record([json.loads(example)], BREAST_RECORD, datetime(2026, 11, 22, tzinfo=UTC))
    assert record.values == {
        "shape": frozenset({"irregular"}),
        "margin": frozenset({"spiculated", "indistinct"}),
        "birads": frozenset({"4c"}),
    }
