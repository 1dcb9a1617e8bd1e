"""Tables of HL7 v2 and what their codes are in FHIR, as the guide's concept maps have them (HL7 v2-to-FHIR).

docs/hl7v2.md shows them; a test holds it equal.
"""

from collections.abc import Mapping

from clinical.codes import Coding

_ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
_INTERPRETATION = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
IDENTIFIER_TYPE = "http://terminology.hl7.org/CodeSystem/v2-0203"
SECTION = "http://terminology.hl7.org/CodeSystem/v2-0074"
MARITAL = "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus"
PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"

# 0001 Administrative Sex -> administrative-gender
SEX: Mapping[str, str] = {
    "F": "female", "M": "male", "O": "other", "A": "other", "N": "other", "X": "other", "U": "unknown",
}  # fmt: skip

# 0085 Observation Result Status -> observation-status
OBSERVATION_STATUS: Mapping[str, str] = {
    "A": "amended",
    "B": "amended",
    "C": "corrected",
    "D": "entered-in-error",
    "F": "final",
    "I": "registered",
    "N": "cancelled",
    "O": "registered",
    "P": "preliminary",
    "R": "preliminary",
    "S": "preliminary",
    "U": "final",
    "V": "final",
    "W": "entered-in-error",
    "X": "cancelled",
}

# 0123 Result Status -> diagnostic-report-status
REPORT_STATUS: Mapping[str, str] = {
    "A": "partial",
    "C": "corrected",
    "F": "final",
    "I": "registered",
    "M": "corrected",
    "N": "registered",
    "O": "registered",
    "P": "preliminary",
    "R": "partial",
    "S": "registered",
    "X": "cancelled",
}

# 0119 Order Control -> request-status; those that carry a status of the order leave it to ORC-5. RP, RQ and RU
# stand by the order that is replaced; the one in its place comes with RO (v2.9 4.5.1.1).
ORDER_CONTROL: Mapping[str, str] = {
    "NW": "active", "OK": "active", "SN": "active", "NA": "active", "XO": "active", "XR": "active", "XX": "active",
    "RO": "active", "PA": "active", "CH": "active", "RL": "active", "OE": "active",
    "CA": "revoked", "OC": "revoked", "CR": "revoked", "DC": "revoked", "OD": "revoked", "DR": "revoked",
    "RP": "revoked", "RQ": "revoked", "RU": "revoked", "UA": "revoked", "OP": "active",
    "HD": "on-hold", "OH": "on-hold", "HR": "on-hold", "RE": "completed",
}  # fmt: skip
STATUS_IN_ORC_5 = frozenset(("SC", "SR", "SS", "NW", "XO", "XX", "XR", "RE", "OK", "SN", "NA"))

# 0038 Order Status -> request-status
ORDER_STATUS: Mapping[str, str] = {
    "A": "active",
    "CA": "revoked",
    "CM": "completed",
    "DC": "revoked",
    "ER": "entered-in-error",
    "HD": "on-hold",
    "IP": "active",
    "RP": "revoked",
    "SC": "active",
}

# 0027 / 0485 Priority -> request-priority
PRIORITY: Mapping[str, str] = {
    "S": "stat", "A": "asap", "R": "routine", "T": "urgent", "P": "routine", "C": "routine", "PRN": "routine",
}  # fmt: skip

# 0004 Patient Class -> v3-ActCode
ENCOUNTER_CLASS: Mapping[str, Coding] = {
    "E": Coding(_ACT_CODE, "EMER", "emergency"),
    "I": Coding(_ACT_CODE, "IMP", "inpatient encounter"),
    "O": Coding(_ACT_CODE, "AMB", "ambulatory"),
    "P": Coding(_ACT_CODE, "PRENC", "pre-admission"),
    "R": Coding(_ACT_CODE, "AMB", "ambulatory"),
    "B": Coding(_ACT_CODE, "IMP", "inpatient encounter"),
}
DEFAULT_CLASS = Coding(_ACT_CODE, "AMB", "ambulatory")

# 0078 Interpretation Codes -> v3-ObservationInterpretation; "N" and the like are the same letters in both.
_SAME = (
    "A", "AA", "H", "HH", "L", "LL", "HX", "LX", "N", "B", "D", "U", "W", "S", "R", "I", "MS", "VS", "SDD", "NS",
    "IND", "POS", "NEG", "ND", "DET", "NR", "RR", "WR", "E", "EX", "IE", "CAR", "HU", "LU",
)  # fmt: skip
INTERPRETATION: Mapping[str, Coding] = {
    **{code: Coding(_INTERPRETATION, code, "") for code in _SAME},
    ">": Coding(_INTERPRETATION, "HX", ""),
    "<": Coding(_INTERPRETATION, "LX", ""),
}

# 0074 Diagnostic Service Section -> observation-category; any other section is laboratory.
IMAGING_SECTIONS = frozenset(
    ("RAD", "CT", "MR", "NMR", "NMS", "US", "RUS", "OUS", "VUS", "CUS", "CTH", "XRC", "RX")
)

# 0190 Address Type -> address-use
ADDRESS_USE: Mapping[str, str] = {"H": "home", "P": "home", "B": "work", "O": "work", "C": "temp", "V": "temp"}
# 0200 Name Type -> name-use
NAME_USE: Mapping[str, str] = {
    "L": "official", "D": "usual", "M": "maiden", "N": "nickname", "T": "temp", "S": "anonymous",
}  # fmt: skip
# 0201 Telecommunication Use -> contact-point-use
TELECOM_USE: Mapping[str, str] = {"PRN": "home", "ORN": "home", "WPN": "work", "PRS": "mobile", "VHN": "home"}
# 0202 Equipment Type -> contact-point-system
TELECOM_SYSTEM: Mapping[str, str] = {
    "PH": "phone", "CP": "phone", "SAT": "phone", "FX": "fax", "BP": "pager", "INTERNET": "email",
    "X.400": "email",
}  # fmt: skip
# 0002 Marital Status -> v3-MaritalStatus
MARITAL_STATUS: Mapping[str, str] = {
    "A": "L", "D": "D", "I": "I", "M": "M", "S": "S", "W": "W", "C": "C", "P": "T", "G": "T", "T": "U", "B": "U",
    "U": "U",
}  # fmt: skip
