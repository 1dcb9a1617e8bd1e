"""An object that comes back under our pseudonyms, under its own names again. Pure."""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from clinical.destination_pseudonyms import Pseudonyms
from clinical.errors import Denied
from dicom_node.confidentiality.deidentify import patient_of

# What of the patient and the study (PS3.3 C.7.1.1, C.7.2.1) an object that comes back cannot know.
_OF_THE_SOURCE = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyDescription",
)
_MARKS = (
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
)
_UNICODE = "ISO_IR 192"


def uids_in(ds: Dataset) -> Iterator[str]:
    """Yield every UID in a data set, at every depth."""
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                yield from uids_in(item)
        elif element.VR == "UI" and element.value:
            yield from map(str, element.value if isinstance(element.value, MultiValue | list) else [element.value])


def reidentify(returned: Dataset, originals: Mapping[str, str], source: Dataset, names: Pseudonyms) -> Dataset:
    """Return a copy of what came back, with the patient, the study and the UIDs that were sent there.

    originals: pseudonym -> original. source: any object of the study that was sent. UIDs that were not sent are
    the sender's own and stay, as do its dates: it made the object when it says.

    Raises Denied when the object is of another patient than its study: then one of the two is not ours.
    """
    if str(returned.get("PatientID", "") or "") != names.patient_id(patient_of(source)):
        raise Denied("the object names another patient than the study that was sent")
    made = _mapped(returned, lambda uid: originals.get(uid, uid))
    for keyword in (*_OF_THE_SOURCE, *_MARKS):
        if keyword in made:
            del made[keyword]
    for keyword in _OF_THE_SOURCE:
        if keyword in source:
            made[keyword] = deepcopy(source[keyword])
    sets = {str(one.get("SpecificCharacterSet") or "") for one in (source, returned)} - {""}
    if sets:
        made.SpecificCharacterSet = sets.pop() if len(sets) == 1 else _UNICODE
    return made


def _mapped(ds: Dataset, uid: Callable[[str], str]) -> Dataset:
    made = Dataset()
    for element in ds:
        if element.VR == "SQ":
            made.add(DataElement(element.tag, "SQ", [_mapped(item, uid) for item in element.value]))
        elif element.VR == "UI" and element.value:
            several = isinstance(element.value, MultiValue | list)
            value = [uid(str(one)) for one in element.value] if several else uid(str(element.value))
            made.add(DataElement(element.tag, "UI", value))
        else:
            made.add(element)
    return made
