"""Who a patient is: an identifier together with whoever issued it.

DICOM writes (Issuer of Patient ID 0010,0021, Patient ID 0010,0020), FHIR writes
`Patient.identifier(system, value)`. One configured table joins the two. A bare value is never an
identity: two hospitals give the same number to two people.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from clinical.errors import IncorrectInput

_UNDECODED = "\ufffd"
UNMAPPED_ISSUER = "urn:consilium:unmapped-issuer:"
LONGEST = 64  # PS3.5 6.2: the value representation LO


@dataclass(frozen=True, slots=True)
class PatientKey:
    """One patient of one issuer.

    system: the FHIR identifier system (a URI) of the issuer.
    value: the identifier, as issued, without surrounding blanks.
    """

    system: str
    value: str

    def __post_init__(self) -> None:
        if not self.system or not self.value:
            raise IncorrectInput("a patient key needs an issuer and a value")

    def __repr__(self) -> str:
        # A repr lands in logs and tracebacks; the identifier must not.
        return f"PatientKey(system={self.system!r}, value=<hidden>)"


@dataclass(frozen=True, slots=True)
class IssuerTable:
    """Which FHIR identifier system each DICOM issuer stands for.

    systems: Issuer of Patient ID -> FHIR identifier system. The empty name is what images without
        an issuer belong to; leave it out and such images match nobody.
    """

    systems: Mapping[str, str] = field(default_factory=dict)

    def from_dicom(self, issuer_of_patient_id: str | None, patient_id: str | None) -> PatientKey | None:
        """Return the key of an image's patient, or None when the image names no patient.

        A name that is longer than DICOM allows, holds control characters or could not be decoded in its character
        set is none: cut, cleaned or with replacement characters it could be somebody else's.

        An issuer that the table does not know keeps a name space of its own, which no FHIR
        identifier equals: the result is kept and matches nobody, rather than somebody else.
        """
        value = (patient_id or "").strip()
        issuer = (issuer_of_patient_id or "").strip()
        if not value or not (_is_legal(value) and _is_legal(issuer)):
            return None
        return PatientKey(self.systems.get(issuer) or UNMAPPED_ISSUER + issuer, value)


def _is_legal(text: str) -> bool:
    return len(text) <= LONGEST and text.isprintable() and _UNDECODED not in text


def from_fhir(system: str | None, value: str | None) -> PatientKey | None:
    """Return the key of a FHIR identifier, or None when it has no system or no value."""
    if not (system or "").strip() or not (value or "").strip():
        return None
    return PatientKey(str(system).strip(), str(value).strip())
