"""What a site has to say about messages: whose identifiers and codes they hold, in which zone its clocks run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from functools import lru_cache
from urllib.parse import quote

from clinical.codes import DICOM_DCM, ICD_10, ICD_10_CM, LOINC, SNOMED_CT, UCUM, Coding
from clinical.identity import UNMAPPED_ISSUER, PatientKey

LOCAL = "urn:consilium:hl7v2:"
ATTACHMENT_BYTES = 1 << 20

# Table 0396 -> FHIR's name of the system (R4 4.3, terminologies-systems).
CODING_SYSTEMS: Mapping[str, str] = {
    "LN": LOINC,
    "SCT": SNOMED_CT,
    "UCUM": UCUM,
    "I10": ICD_10,
    "I10C": ICD_10_CM,
    "I10P": "http://www.cms.gov/Medicare/Coding/ICD10",
    "I9C": "http://hl7.org/fhir/sid/icd-9-cm",
    "C4": "http://www.ama-assn.org/go/cpt",
    "CVX": "http://hl7.org/fhir/sid/cvx",
    "NDC": "http://hl7.org/fhir/sid/ndc",
    "RXNORM": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "DCM": DICOM_DCM,
    "ISO639": "urn:ietf:bcp:47",
}


def no_codes(_system: str, _code: str) -> Sequence[Coding]:
    """A table of codes that holds none."""
    return ()


def not_counted(_system: str) -> None:
    """Count nothing."""


@dataclass(frozen=True, slots=True)
class Site:
    """derive: (type, key parts) -> the id of what a message makes: the same for the same key, not to be guessed.

    patient_id: as `derive`, for patients; the same id that images of this patient lead to.
    issuers: assigning authority (namespace) of patients -> identifier system; "" for messages that name none.
    systems: any other namespace or coding system -> URI. codes: (system, code) -> standard codes that mean the
    same; unmapped: told the system of what came in local codes alone. zone: of times without one. charset:
    table 0211, of messages without MSH-18 that are not UTF-8.
    """

    derive: Callable[..., str]
    patient_id: Callable[[PatientKey], str]
    issuers: Mapping[str, str] = field(default_factory=dict)
    systems: Mapping[str, str] = field(default_factory=dict)
    codes: Callable[[str, str], Sequence[Coding]] = no_codes
    unmapped: Callable[[str], None] = not_counted
    zone: tzinfo = UTC
    charset: str | None = None
    processing_ids: frozenset[str] = frozenset(("P",))
    attachment_bytes: int = ATTACHMENT_BYTES


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a message: MSH-3.1 and MSH-4.1. zone: of its times that say none."""

    application: str
    facility: str
    zone: tzinfo = UTC

    @property
    def name(self) -> str:
        """Both, as one key."""
        return f"{self.application}|{self.facility}"


@dataclass(frozen=True, slots=True)
class Context:
    """A message's surroundings: what turns its words into FHIR's."""

    site: Site
    sender: Sender

    def patient_system(self, namespace: str, universal: str, kind: str) -> str:
        """Return the identifier system of a patient's assigning authority (HD).

        One that the site's table does not know keeps a name space of its own, as in images.
        """
        name = namespace or universal or self.sender.facility
        # "" is for messages that name no authority: one named by its universal id alone is not the site's own.
        asked = (namespace,) if namespace else (universal,) if universal else ("", name)
        known = next((found for one in asked if (found := self.site.issuers.get(one))), None)
        return known or _universal(universal, kind) or UNMAPPED_ISSUER + name

    def system(self, namespace: str, universal: str, kind: str) -> str:
        """Return the identifier system of any other authority (HD, or the end of an EI)."""
        known = self.site.systems.get(namespace) if namespace else None
        name = namespace or universal or self.sender.facility or self.sender.application
        return known or _universal(universal, kind) or LOCAL + _quoted(name)

    def coding_system(self, name: str) -> str:
        """Return the URI of a coding system (table 0396); the sender's own where it is local."""
        known = self.site.systems.get(name) or CODING_SYSTEMS.get(name.upper())
        if known is None and name.upper().startswith("HL7") and name[3:].isdigit():
            known = f"http://terminology.hl7.org/CodeSystem/v2-{name[3:]}"
        owner = self.sender.application or self.sender.facility
        return known or f"{LOCAL}{_quoted(owner)}:{_quoted(name or 'L')}"


@lru_cache(maxsize=4096)
def _quoted(text: str) -> str:
    return quote(text, safe="")


def _universal(text: str, kind: str) -> str | None:
    """Return a universal id (HD.2, HD.3; table 0301) as a URI."""
    text = "".join(text.split())
    if not text:
        return None
    match kind.upper():
        case "ISO" if text.replace(".", "").isdigit():
            return f"urn:oid:{text}"
        case "UUID" | "GUID":
            return f"urn:uuid:{text.lower()}"
        case "URI" | "URL" if ":" in text:
            return text
        case _:
            return None
