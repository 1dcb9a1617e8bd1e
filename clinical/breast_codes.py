"""The record of a breast lesion on ultrasound: BI-RADS descriptors as coded concepts, and what they are called.

Codes are those of PS3.16, where DICOM writes the lexicon down (CID 6005 shape, 6007 margin, 6012 calcifications,
6051 and 6055 history and signs, 6151 background echotexture, 6153 boundary, 6154 echo pattern, 6155 posterior
features), and SNOMED CT's assessment categories. Neither has the subdivisions 4A to 4C of the category, nor words
for some of what a chart holds: for these, and for every feature and value, there is a code of this project's own
system, BREAST_LEXICON, named after the feature (`margin`, `margin-spiculated`). docs/breast-record.md lists them.
"""

from clinical.codes import ABSENT, DICOM_DCM, PRESENT, SNOMED_CT, Coding
from clinical.finding import FindingTerms
from clinical.lesion import Kind, RecordFeature, RecordValue, Side

BREAST_LEXICON = "urn:consilium:breast-lexicon"
BREAST = Coding(SNOMED_CT, "76752008", "Breast structure")
LEFT_BREAST = Coding(SNOMED_CT, "80248007", "Left breast structure")
RIGHT_BREAST = Coding(SNOMED_CT, "73056007", "Right breast structure")
BOTH_BREASTS = Coding(SNOMED_CT, "63762007", "Both breasts")
BREASTS = (BREAST, LEFT_BREAST, RIGHT_BREAST, BOTH_BREASTS)
SIDES = ((Side.LEFT, LEFT_BREAST), (Side.RIGHT, RIGHT_BREAST))
LESION = Coding(SNOMED_CT, "52988006", "Lesion")  # where it lies is said beside it
ABNORMAL_STRUCTURE = Coding(SNOMED_CT, "49755003", "Morphologically Abnormal Structure")
BREAST_LESION_TERMS = FindingTerms(ABNORMAL_STRUCTURE, LESION, LESION, BREAST, "breast lesion")
DESCRIBED_WITHIN_DAYS = 365


def _sct(code: str, display: str) -> Coding:
    return Coding(SNOMED_CT, code, display)


def _dcm(code: str, display: str) -> Coding:
    return Coding(DICOM_DCM, code, display)


def _values(feature: str, *listed: tuple[str, str, tuple[Coding, ...]]) -> tuple[RecordValue, ...]:
    """Return values, each with this project's own code first. listed: (name, label, other codes)."""
    return tuple(RecordValue(name, label, (_own(feature, name, label), *codes)) for name, label, codes in listed)


def _own(feature: str, value: str | None, label: str) -> Coding:
    words = feature if value is None else f"{feature}-{value}"
    return Coding(BREAST_LEXICON, words.replace("_", "-"), label)


def _feature(
    name: str,
    label: str,
    *codes: Coding,
    values: tuple[RecordValue, ...],
    kind: Kind = Kind.CHOICE,
    of_lesion: bool = True,
) -> RecordFeature:
    return RecordFeature(
        name, label, kind, of_lesion, (_own(name, None, label), *codes), values,
        look_back_days=DESCRIBED_WITHIN_DAYS,
    )  # fmt: skip


def _yes_or_no(feature: str, yes: Coding | None = None, no: Coding | None = None) -> tuple[RecordValue, ...]:
    return _values(
        feature,
        ("yes", "yes", (PRESENT, *([yes] if yes else []))),
        ("no", "no", (ABSENT, *([no] if no else []))),
    )


AGE = RecordFeature(
    "age", "Age", Kind.NUMBER, of_lesion=False, codes=(), values=(), unit="a", minimum=18, maximum=120
)

BREAST_RECORD: tuple[RecordFeature, ...] = (
    AGE,
    _feature(
        "tissue_composition",
        "Background echotexture",
        _dcm("111350", "Breast background echotexture"),
        of_lesion=False,
        values=_values(
            "tissue_composition",
            ("homogeneous_fat", "homogeneous, fat", (_dcm("111351", "Homogeneous fat echotexture"),)),
            (
                "homogeneous_fibroglandular",
                "homogeneous, fibroglandular",
                (_dcm("111352", "Homogeneous fibroglandular echotexture"),),
            ),
            ("heterogeneous_fat", "heterogeneous, predominantly fat", ()),
            ("heterogeneous_fibroglandular", "heterogeneous, predominantly fibroglandular", ()),
            ("lactating", "lactating", ()),
        ),
    ),
    _feature(
        "signs",
        "Signs",
        kind=Kind.SEVERAL,
        of_lesion=False,
        values=_values(
            "signs",
            ("no", "none", ()),
            (
                "palpable",
                "palpable lump",
                (_sct("268951004", "O/E - Breast lump palpated"), _sct("89164003", "Breast lump")),
            ),
            ("breast_scar", "breast scar", ()),
            ("nipple_retraction", "nipple retraction", ()),
            ("skin_retraction", "skin retraction", (_sct("129796009", "Skin retraction of breast"),)),
            ("peau_d_orange", "peau d'orange", (_sct("87386002", "Peau d'orange surface of breast"),)),
            ("redness", "redness", (_sct("247441003", "Erythema"),)),
            ("warmth", "warmth", ()),
        ),
    ),
    _feature(
        "symptoms",
        "Symptoms and history",
        kind=Kind.SEVERAL,
        of_lesion=False,
        values=_values(
            "symptoms",
            ("no", "none", ()),
            (
                "family_history",
                "breast or ovarian cancer in the family",
                (_sct("429740004", "Family history of breast cancer"),),
            ),
            (
                "personal_history",
                "breast cancer before",
                (_sct("415076002", "Personal history of breast cancer"),),
            ),
            ("hormones", "hormone replacement or contraception", ()),
            ("nipple_discharge", "nipple discharge", (_sct("162164007", "Nipple discharge symptom"),)),
            ("breast_injury", "breast injury", ()),
        ),
    ),
    _feature(
        "shape",
        "Shape",
        _sct("300842002", "Shape"),
        values=_values(
            "shape",
            ("oval", "oval", (_sct("84360004", "Ovoid shape"),)),
            ("round", "round", (_sct("42700002", "Round shape"),)),
            ("irregular", "irregular", (_sct("49608001", "Irregular"),)),
        ),
    ),
    _feature(
        "margin",
        "Margin",
        _dcm("111037", "Margins"),
        kind=Kind.SEVERAL,
        values=_values(
            "margin",
            ("circumscribed", "circumscribed", (_sct("129738007", "Circumscribed lesion"),)),
            ("indistinct", "indistinct", (_sct("129741003", "Indistinct lesion"),)),
            ("angular", "angular", (_dcm("111343", "Angular margins"),)),
            ("microlobulated", "microlobulated", (_sct("129739004", "Microlobulated lesion"),)),
            ("spiculated", "spiculated", (_sct("129742005", "Spiculated lesion"),)),
        ),
    ),
    _feature(
        "echogenicity",
        "Echo pattern",
        _dcm("111360", "Echo pattern"),
        values=_values(
            "echogenicity",
            ("anechoic", "anechoic", (_dcm("111361", "Anechoic"),)),
            ("hyperechoic", "hyperechoic", (_dcm("111362", "Hyperechoic"),)),
            ("isoechoic", "isoechoic", (_dcm("111365", "Isoechoic"),)),
            ("hypoechoic", "hypoechoic", (_dcm("111364", "Hypoechoic"),)),
            ("complex", "complex cystic and solid", (_dcm("111363", "Complex"),)),
            ("heterogeneous", "heterogeneous", ()),
        ),
    ),
    _feature(
        "posterior_features",
        "Posterior features",
        _dcm("111366", "Posterior acoustic features"),
        values=_values(
            "posterior_features",
            ("no", "none", (_dcm("111367", "No posterior acoustic features"),)),
            ("enhancement", "enhancement", (_dcm("111368", "Posterior enhancement"),)),
            ("shadowing", "shadowing", (_dcm("111369", "Posterior shadowing"),)),
            ("combined", "combined", (_dcm("111370", "Combined posterior enhancement and shadowing"),)),
        ),
    ),
    _feature(
        "halo",
        "Echogenic halo",
        _dcm("111357", "Lesion boundary"),
        values=_yes_or_no("halo", _dcm("111359", "Echogenic halo"), _dcm("111358", "Abrupt interface")),
    ),
    _feature(
        "calcifications",
        "Calcifications",
        _sct("309587003", "Calcification of breast"),
        values=_values(
            "calcifications",
            ("no", "none", (ABSENT,)),
            ("in_mass", "in the mass", (_dcm("111346", "Calcifications within a mass"),)),
            ("intraductal", "intraductal", ()),
            ("indefinable", "indefinable", ()),
        ),
    ),
    _feature(
        "skin_thickening",
        "Skin thickening",
        _sct("129797000", "Skin thickening of breast"),
        values=_yes_or_no("skin_thickening"),
    ),
    _feature(
        "birads",
        "BI-RADS category",
        _dcm("111413", "Overall Assessment"),
        values=_values(
            "birads",
            ("1", "1", (_sct("397140005", "Category 1 - Negative"),)),
            ("2", "2", (_sct("397141009", "Category 2 - Benign finding"),)),
            ("3", "3", (_sct("397143007", "Category 3 - Probably benign finding"),)),
            ("4", "4", (_sct("397144001", "Category 4 - Suspicious abnormality"),)),
            ("4a", "4A", ()),
            ("4b", "4B", ()),
            ("4c", "4C", ()),
            ("5", "5", (_sct("397145000", "Category 5 - Highly suggestive of malignancy"),)),
        ),
    ),
)
