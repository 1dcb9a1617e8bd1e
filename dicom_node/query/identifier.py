"""The Identifier of requests and responses (PS3.4 C.4.1.1.3): read into a question, written from a row."""

import warnings
from dataclasses import dataclass
from typing import Any

from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from clinical.errors import IncorrectInput
from dicom_node.incoming import DECODER_ERRORS
from dicom_node.query.attributes import BY_TAG, UNIQUE, Level
from dicom_node.query.matching import NUMBERS, checked_key
from dicom_node.query.search import Found
from dicom_node.uids import checked_uid

_LEVEL, _CHARACTER_SET, _RETRIEVE_AE, _AVAILABILITY = 0x00080052, 0x00080005, 0x00080054, 0x00080056
_TIME_ZONE = 0x00080201
_OURS = frozenset((_LEVEL, _CHARACTER_SET, _RETRIEVE_AE, _AVAILABILITY, _TIME_ZONE))
MOST_KEYS = 64


@dataclass(frozen=True, slots=True)
class Asked:
    """What an Identifier asks. keys: tag -> text; "" asks for the value. unknown: it names what is not matched."""

    level: Level
    keys: dict[int, str]
    unknown: bool


def read_identifier(identifier: Dataset, top: Level, *, retrieval: bool = False) -> Asked:
    """Read a request. top: highest level of the model, PATIENT or STUDY. retrieval: of C-MOVE and C-GET.

    Hierarchical (PS3.4 C.4.1.2.1, C.4.2.1.4): the unique keys of all levels above have to be there with one value
    each; in a retrieval that of its own level as well, a list of them below PATIENT level. Raises IncorrectInput.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote values
        try:
            texts = {int(element.tag): _text(element) for element in identifier}
        except DECODER_ERRORS:
            raise IncorrectInput("the identifier cannot be read") from None
    level = _level(texts.pop(_LEVEL, None), top)
    known = {tag: text for tag, text in texts.items() if tag in BY_TAG and text is not None}
    if len(texts) > MOST_KEYS:
        raise IncorrectInput("the identifier has too many keys")
    keys = {tag: checked_key(BY_TAG[tag].vr, text) for tag, text in known.items() if BY_TAG[tag].level <= level}
    for above in range(top, level):
        _one_unique(keys, Level(above))
    if retrieval:
        own = UNIQUE[level].tag
        if not keys.get(own):
            raise IncorrectInput(f"a retrieval at this level names its {UNIQUE[level].keyword}")
        if level is Level.PATIENT:
            _one_unique(keys, level)
        keys = {tag: text for tag, text in keys.items() if tag in {one.tag for one in UNIQUE.values()}}
    return Asked(level, keys, unknown=bool(texts.keys() - keys.keys() - _OURS))


def _level(text: str | None, top: Level) -> Level:
    names = {one.name: one for one in Level if one >= top}
    if text not in names:
        raise IncorrectInput("the Query/Retrieve Level is none of this model")
    return names[text]


def _one_unique(keys: dict[int, str], level: Level) -> None:
    attribute = UNIQUE[level]
    value = keys.get(attribute.tag, "")
    if not value or "\\" in value or {"*", "?"} & set(value):
        raise IncorrectInput(f"the unique key {attribute.keyword} has to be there with one value")
    if attribute.vr == "UI":
        checked_uid(value, attribute.keyword)


def _text(element: DataElement) -> str | None:
    if element.VR == "SQ":
        return "" if not element.value else None
    value = element.value
    if value is None:
        return ""
    return (
        "\\".join(map(str, value)) if isinstance(value, (list, tuple)) or hasattr(value, "append") else str(value)
    )


def response_identifier(asked: Asked, found: Found, ae_title: str) -> Dataset:
    """Return what a match answers: the keys that were asked for, the unique keys, where it can be retrieved."""
    ds = Dataset()
    tags = {*asked.keys, *(one.tag for level, one in UNIQUE.items() if level <= asked.level)} & found.keys()
    if not all(found[tag].isascii() for tag in tags):
        ds.SpecificCharacterSet = "ISO_IR 192"
    ds.QueryRetrieveLevel = asked.level.name
    ds.RetrieveAETitle = ae_title
    ds.InstanceAvailability = "ONLINE"
    for tag in sorted(tags):
        ds.add(_element(tag, found[tag]))
    return ds


def _element(tag: int, text: str) -> DataElement:
    vr = BY_TAG[tag].vr
    value: Any = text
    if vr in NUMBERS:
        value = [int(part) for part in text.split("\\") if part.strip().lstrip("+-").isdecimal()] or None
    # Objects say what they say: it is answered as it stands, and no warning quotes it.
    return DataElement(tag, vr, value, validation_mode=config.IGNORE)
