"""A person as an image or a record names them, as a FHIR Patient (R4 8.1)."""

from dataclasses import dataclass

from clinical.identity import PatientKey
from fhir_adapters.resources.labels import Json, uri

# DICOM Patient's Sex (0010,0040) to administrative-gender
GENDER = {"M": "male", "F": "female", "O": "other"}


@dataclass(frozen=True, slots=True)
class Demographics:
    """What an image says about its patient besides the identifier; all of it may be absent.

    birth_date: YYYY-MM-DD. gender: a code of administrative-gender.
    """

    family: str | None = None
    given: str | None = None
    birth_date: str | None = None
    gender: str | None = None

    def __repr__(self) -> str:
        # A repr lands in logs and tracebacks; a name must not.
        return "Demographics(<hidden>)"


def patient(key: PatientKey, *, resource_id: str, demographics: Demographics | None = None) -> Json:
    """Return the Patient of a key."""
    told = demographics or Demographics()
    name: Json = {"family": told.family} if told.family else {}
    if told.given:
        name["given"] = [told.given]
    resource: Json = {
        "resourceType": "Patient",
        "id": resource_id,
        "identifier": [{"system": uri(key.system), "value": key.value}],
    }
    if name:
        resource["name"] = [name]
    if told.gender:
        resource["gender"] = told.gender
    if told.birth_date:
        resource["birthDate"] = told.birth_date
    return resource
