"""A data set without its patient, by PS3.15 annex E. Pure: data set in, data set out.

What cannot be made harmless is refused and never sent in part: words in pixels, documents, drawings of people.
When all is done, every text that is left is searched for what identified the source, as a last check of the table.
"""

import re
from collections.abc import Iterator
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from clinical.destination_pseudonyms import Pseudonyms, patient_text
from clinical.errors import Unsupported
from dicom_node.confidentiality.actions import Options, plain_words
from dicom_node.confidentiality.elements import TEXTS, Work, cleaned_dataset

DCM = "DCM"
_BASIC = ("113100", "Basic Application Confidentiality Profile")
_CONTENT = ("113104", "Clean Structured Content Option")
_DESCRIPTORS = ("113105", "Clean Descriptors Option")
_SHIFTED = ("113107", "Retain Longitudinal Temporal Information Modified Dates Option")
_CHARACTERISTICS = ("113108", "Retain Patient Characteristics Option")
_DEVICE = ("113109", "Retain Device Identity Option")
# Modalities whose machines write into the picture, so that silence about it is no answer.
_WRITING = frozenset(("ES", "GM", "OP", "OT", "SC", "SM", "US", "IVUS", "XC", "DOC", "RG"))
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_TOLD_BY = ("PatientName", "PatientID", "OtherPatientIDs", "AccessionNumber", "PatientBirthDate", "StudyID")
_PEOPLE = ("ReferringPhysicianName", "OperatorsName", "PerformingPhysicianName", "NameOfPhysiciansReadingStudy")
_SHORTEST = 3  # a part of a name that is shorter would be found everywhere


def deidentify(source: Dataset, names: Pseudonyms, options: Options) -> tuple[Dataset, dict[str, str]]:
    """Return a de-identified copy, and the UIDs that were mapped (original -> pseudonym). Pixels are not copied.

    Raises Unsupported when it cannot be made harmless, with a reason that holds no patient data.
    """
    _check_pixels(source)
    if any(name in source for name in ("EncapsulatedDocument", "GraphicAnnotationSequence")):
        raise Unsupported("documents and drawings cannot be de-identified")
    work = Work(names, options, patient_of(source))
    made = cleaned_dataset(source, work)
    made.PatientID = names.patient_id(work.patient)
    made.PatientName = f"{made.PatientID}^"
    _mark(made, options)
    _check_leaks(source, made)
    return made, work.uids


def patient_of(ds: Dataset) -> str:
    """Return what tells this patient from others: issuer and number, or the study when there is no number."""
    number = str(ds.get("PatientID", "") or "").strip()
    if not number:
        return f"study\x1f{ds.get('StudyInstanceUID', '')}"
    return patient_text(str(ds.get("IssuerOfPatientID", "") or "").strip(), number)


def _check_pixels(ds: Dataset) -> None:
    if not any(name in ds for name in _PIXELS):
        return
    burned = str(ds.get("BurnedInAnnotation", "") or "").upper()
    if burned == "YES" or (burned != "NO" and str(ds.get("Modality", "")) in _WRITING):
        raise Unsupported("its pixels may hold words (Burned In Annotation is not NO)")
    if str(ds.get("RecognizableVisualFeatures", "") or "").upper() == "YES":
        raise Unsupported("its pixels may show a face (Recognizable Visual Features is YES)")


def _mark(ds: Dataset, options: Options) -> None:
    """Say what was done (PS3.15 E.1.1, PS3.3 C.7.1.1 and C.12.1)."""
    applied = [_BASIC, _CONTENT]
    applied += [_DESCRIPTORS] if options.descriptions == "cleaned" else []
    applied += [_SHIFTED] if options.dates == "shifted" else []
    applied += [_CHARACTERISTICS] if options.characteristics else []
    applied += [_DEVICE] if options.device else []
    ds.PatientIdentityRemoved = "YES"
    ds.DeidentificationMethod = "PS3.15 annex E by Consilium"
    ds.DeidentificationMethodCodeSequence = Sequence([_code(*one) for one in applied])
    ds.LongitudinalTemporalInformationModified = "MODIFIED" if options.dates == "shifted" else "REMOVED"


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, DCM, meaning
    return item


def _check_leaks(source: Dataset, made: Dataset) -> None:
    needles = {part for name in (*_TOLD_BY, *_PEOPLE) for part in _parts(source.get(name))}
    for text in texts_of(made):
        if needles & set(_words(text)):
            raise Unsupported("a text in it names the patient or a person")


def _parts(value: Any) -> Iterator[str]:  # noqa: ANN401 - any VR
    for one in value if isinstance(value, MultiValue | list) else [value]:
        for word in _words(str(one or "")):
            # A plain word is in many descriptions; so is a short number, which is no patient's by itself.
            if len(word) >= _SHORTEST + word.isdigit() and word not in plain_words():
                yield word


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.casefold())


def texts_of(ds: Dataset) -> Iterator[str]:
    """Yield every text in a data set, at every depth."""
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                yield from texts_of(item)
        elif element.VR in TEXTS and element.value:
            yield str(element.value)
