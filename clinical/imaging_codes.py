"""Orders of a chest radiograph, in the code systems that order catalogues use.

Only examinations of the whole chest that show what an earlier one has shown: no rib, sternum or decubitus views.
"""

from clinical.codes import LOINC, SNOMED_CT, Coding

RADLEX = "http://radlex.org"
CPT = "http://www.ama-assn.org/go/cpt"
RADIOGRAPHY = frozenset({"CR", "DX"})  # Modality (PS3.3 C.7.3.1.1.1)

CHEST_RADIOGRAPHS = (
    Coding(LOINC, "24632-2", "Portable XR Chest Views AP"),
    Coding(LOINC, "24642-1", "XR Chest AP and PA upright"),
    Coding(LOINC, "24644-7", "Portable XR Chest PA and Lateral upright"),
    Coding(LOINC, "24647-0", "XR Chest PA and Lateral upright"),
    Coding(LOINC, "24648-8", "XR Chest PA upright"),
    Coding(LOINC, "30745-4", "XR Chest Views"),
    Coding(LOINC, "30746-2", "Portable XR Chest Views"),
    Coding(LOINC, "36554-4", "XR Chest Single view"),
    Coding(LOINC, "36572-6", "XR Chest AP"),
    Coding(LOINC, "36589-0", "Portable XR Chest AP single view"),
    Coding(LOINC, "36643-5", "XR Chest 2 Views"),
    Coding(LOINC, "36687-2", "XR Chest AP and Lateral"),
    Coding(LOINC, "42272-5", "XR Chest PA and Lateral"),
    Coding(RADLEX, "RPID6035", "XR Chest 1 View Posteroanterior"),
    Coding(RADLEX, "RPID6045", "XR Chest 2 Views With Apical Lordotic"),
    Coding(RADLEX, "RPID6047", "XR Chest 2 Views With Obliques"),
    Coding(CPT, "71045", "Chest radiograph, 1 view"),
    Coding(CPT, "71046", "Chest radiograph, 2 views"),
    Coding(CPT, "71047", "Chest radiograph, 3 views"),
    Coding(CPT, "71048", "Chest radiograph, 4 or more views"),
    Coding(SNOMED_CT, "399208008", "Plain chest X-ray"),
    Coding(SNOMED_CT, "168731009", "Standard chest X-ray"),
)
_BY_CODE = {(one.system, one.code): one for one in CHEST_RADIOGRAPHS}


def chest_radiograph(system: object, code: object) -> Coding | None:
    """Return our Coding of a chest radiograph, None for everything else. The systems' codes are case-sensitive."""
    return _BY_CODE.get((system, code)) if isinstance(system, str) and isinstance(code, str) else None
