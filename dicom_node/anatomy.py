"""Which part of the body an image says it shows: codes, a word, or what the site knows about its sender.

Ultrasound machines fill Body Part Examined (0018,0015) rarely, and with a default of the machine at times. So a
site may state what it knows: which sender (AE title) sends nothing but breasts, or which word of its own study
descriptions means it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.header import Header

# What older equipment writes for breasts: SNOMED RT identifiers, under three names (PS3.16 table 8-1).
_OLD_SCHEMES = frozenset(("SRT", "SNM3", "99SDM"))
_OLD_CODES = {"T-04000": "76752008", "T-04020": "73056007", "T-04030": "80248007", "T-04080": "63762007"}
_REGIONS = ("AnatomicRegionSequence", "PrimaryAnatomicStructureSequence")
MOST_REGIONS = 16


@dataclass(frozen=True, slots=True)
class BodyPartRule:
    """What a site knows. An image of this sender, with this text in its Study Description, shows body_part.

    calling_ae, description: None means any; at least one is stated. Case does not matter in a description.
    """

    body_part: str
    calling_ae: str | None = None
    description: str | None = None

    def holds(self, calling_ae: str, description: str) -> bool:
        """Tell whether the rule speaks of an image of this sender and this study description."""
        if self.calling_ae is not None and self.calling_ae != calling_ae:
            return False
        return self.description is None or self.description.casefold() in description.casefold()


def with_site_knowledge(header: Header, calling_ae: str, rules: Iterable[BodyPartRule]) -> Header:
    """Return the header with the body part that the first fitting rule states; its own word otherwise.

    A site's rule comes before the image: it is there because the image is silent or wrong.
    """
    for rule in rules:
        if rule.holds(calling_ae, header.study_description):
            return replace(header, body_part=rule.body_part, anatomic_regions="")
    return header


def with_anatomic_regions(header: Header, path: Path) -> Header:
    """Return the header with the anatomic regions of a stored file whose header has been walked through."""
    try:
        ds = dcmread(path, stop_before_pixels=True, specific_tags=list(_REGIONS))
        found = [code for name in _REGIONS for code in _codes(ds, name)]
    except Exception:  # noqa: BLE001 - pydicom raises anything at all on hostile sequences; then nothing is said
        found = []
    return replace(header, anatomic_regions="\\".join(list(dict.fromkeys(found))[:MOST_REGIONS]))


def _codes(ds: Dataset, name: str) -> list[str]:
    found = []
    for item in ds.get(name) or []:
        scheme, code = str(item.get("CodingSchemeDesignator", "")), str(item.get("CodeValue", ""))
        if scheme in _OLD_SCHEMES and code in _OLD_CODES:
            scheme, code = "SCT", _OLD_CODES[code]
        if code:
            found.append(f"{scheme} {code}")
    return found
