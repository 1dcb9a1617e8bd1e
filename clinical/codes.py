"""Coded concepts: each once, with system and display. Never a bare code string elsewhere."""

from dataclasses import dataclass

SNOMED_CT = "http://snomed.info/sct"
LOINC = "http://loinc.org"
DICOM_DCM = "http://dicom.nema.org/resources/ontology/DCM"
UCUM = "http://unitsofmeasure.org"
OBSERVATION_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
V3_OBSERVATION_VALUE = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"

# DICOM writes coding schemes by short designators (PS3.16 table 8-1).
DICOM_SCHEME = {SNOMED_CT: "SCT", LOINC: "LN", DICOM_DCM: "DCM", UCUM: "UCUM"}


@dataclass(frozen=True, slots=True)
class Coding:
    """A concept of a code system, in FHIR's words (`Coding.system`, `.code`, `.display`)."""

    system: str
    code: str
    display: str

    @property
    def scheme(self) -> str:
        """The DICOM coding scheme designator; KeyError when DICOM has none for this system."""
        return DICOM_SCHEME[self.system]


# Findings and where they are
NODULE_OF_LUNG = Coding(SNOMED_CT, "427359005", "Solitary nodule of lung")
LUNG = Coding(SNOMED_CT, "39607008", "Lung structure")
CHEST_IMAGING_STUDY = Coding(LOINC, "18748-4", "Diagnostic imaging study")
LONG_AXIS = Coding(SNOMED_CT, "103339001", "Long axis")
SHORT_AXIS = Coding(SNOMED_CT, "103340004", "Short axis")
AREA = Coding(SNOMED_CT, "42798000", "Area")
CERTAINTY_OF_FINDING = Coding(DICOM_DCM, "111012", "Certainty of Finding")
PROBABILITY_OF_CANCER = Coding(DICOM_DCM, "111047", "Probability of cancer")
NUMBER_OF_LESIONS = Coding(SNOMED_CT, "246206008", "Number of lesions")
INTERVAL = Coding(SNOMED_CT, "385673002", "Interval")
MAXIMUM_OF = Coding(SNOMED_CT, "56851009", "Maximum")  # PS3.16 CID 7464
COMPARISON_STUDY = Coding(LOINC, "18834-2", "Radiology Comparison study (observation)")
PRESENT = Coding(SNOMED_CT, "52101004", "Present")  # PS3.16 CID 240
ABSENT = Coding(SNOMED_CT, "272519000", "Absent")

# What an order asks for (PS3.16 CID 244 for the sides)
LEFT = Coding(SNOMED_CT, "7771000", "Left")
RIGHT = Coding(SNOMED_CT, "24028007", "Right")
BILATERAL = Coding(SNOMED_CT, "51440002", "Right and left")
IMAGING_PROCEDURE = Coding(SNOMED_CT, "363679005", "Imaging")

# Vital signs and laboratory values that risk models read
BODY_MASS_INDEX = Coding(LOINC, "39156-5", "Body mass index (BMI) [Ratio]")
BODY_HEIGHT = Coding(LOINC, "8302-2", "Body height")
BODY_WEIGHT = Coding(LOINC, "29463-7", "Body weight")
WAIST_CIRCUMFERENCE = Coding(LOINC, "8280-0", "Waist Circumference at umbilicus by Tape measure")
DIASTOLIC_BLOOD_PRESSURE = Coding(LOINC, "8462-4", "Diastolic blood pressure")
FASTING_GLUCOSE = Coding(LOINC, "1558-6", "Fasting glucose [Mass/volume] in Serum or Plasma")
FASTING_GLUCOSE_MOLES = Coding(LOINC, "14771-0", "Fasting glucose [Moles/volume] in Serum or Plasma")
FASTING_INSULIN = Coding(LOINC, "27873-9", "Insulin [Units/volume] in Serum or Plasma --fasting")
HAEMOGLOBIN_A1C = Coding(LOINC, "4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood")
DIABETES_MELLITUS_TYPE_2 = Coding(SNOMED_CT, "44054006", "Diabetes mellitus type 2")
DIABETES_MELLITUS = Coding(SNOMED_CT, "73211009", "Diabetes mellitus")

# What a card may ask a person to order
PATIENT_REFERRAL = Coding(SNOMED_CT, "3457005", "Patient referral")

# What FHIR puts on resources
IMAGING = Coding(OBSERVATION_CATEGORY, "imaging", "Imaging")
MEASUREMENT_GROUP = Coding(DICOM_DCM, "125007", "Measurement Group")
COMPUTER_AIDED_DETECTION = Coding(DICOM_DCM, "110004", "Computer Aided Detection")  # PS3.16 CID 9231
# Why a procedure step was not carried out (PS3.16 CID 9300).
EQUIPMENT_FAILURE = Coding(DICOM_DCM, "110501", "Equipment failure")
DISCONTINUED = Coding(DICOM_DCM, "110513", "Discontinued for unspecified reason")
INCORRECT_WORKLIST_ENTRY = Coding(DICOM_DCM, "110514", "Incorrect worklist entry selected")
OBJECT_TYPES_NOT_SUPPORTED = Coding(DICOM_DCM, "110522", "Object Types not supported")
OBJECT_SET_INCOMPLETE = Coding(DICOM_DCM, "110523", "Object Set incomplete")
AI_ASSERTED = Coding(V3_OBSERVATION_VALUE, "AIAST", "Artificial Intelligence asserted")

MALIGNANT_NEOPLASM_OF_BREAST = Coding(SNOMED_CT, "372137005", "Primary malignant neoplasm of breast")

# Family history, as risk models read it
ICD_10_CM = "http://hl7.org/fhir/sid/icd-10-cm"
ICD_10 = "http://hl7.org/fhir/sid/icd-10"
V3_ROLE_CODE = "http://terminology.hl7.org/CodeSystem/v3-RoleCode"
DIABETES_MELLITUS_TYPE_1 = Coding(SNOMED_CT, "46635009", "Diabetes mellitus type 1")
NO_FAMILY_HISTORY_OF_DIABETES = Coding(SNOMED_CT, "160274005", "No family history of diabetes mellitus")
FAMILY_HISTORY_OF_DIABETES = Coding(SNOMED_CT, "160303001", "Family history of diabetes mellitus")

# What people are asked about themselves, as risk models read it
SELF_RATED_HEALTH = Coding(LOINC, "61577-3", "In general, would you say your health is [PROMIS]")
HEALTH_STATUS = Coding(LOINC, "11323-3", "Health status")
TOBACCO_SMOKING_STATUS = Coding(LOINC, "72166-2", "Tobacco smoking status")
ACTIVE_DAYS_A_WEEK = Coding(
    LOINC,
    "89555-7",
    "How many days per week did you engage in moderate to strenuous physical activity in the last 30 days",
)
VIGOROUS_ACTIVITY = Coding(LOINC, "77593-2", "Vigorous physical activity [IPAQ]")
PREGNANCIES = Coding(LOINC, "11996-6", "[#] Pregnancies")

# What a lesion may be called, and how probable something is in words
BENIGN = Coding(SNOMED_CT, "30807003", "Benign")
MALIGNANT = Coding(SNOMED_CT, "21594007", "Malignant")
RISK_PROBABILITY = "http://terminology.hl7.org/CodeSystem/risk-probability"
LOW_RISK = Coding(RISK_PROBABILITY, "low", "Low likelihood")
MODERATE_RISK = Coding(RISK_PROBABILITY, "moderate", "Moderate likelihood")
HIGH_RISK = Coding(RISK_PROBABILITY, "high", "High likelihood")

# What the classification of diseases calls a finding or an outcome. C50.9: of either sex, which C50.919 is not.
CLASSIFIED_AS = {
    NODULE_OF_LUNG: (Coding(ICD_10_CM, "R91.1", "Solitary pulmonary nodule"),),
    DIABETES_MELLITUS_TYPE_2: (Coding(ICD_10_CM, "E11.9", "Type 2 diabetes mellitus without complications"),),
    MALIGNANT_NEOPLASM_OF_BREAST: (
        Coding(ICD_10_CM, "C50.9", "Malignant neoplasm of breast of unspecified site"),
    ),
}

# Heart rate by the minute, and what moves it
HEART_RATE = Coding(LOINC, "8867-4", "Heart rate")
STEPS_UNSPECIFIED_TIME = Coding(LOINC, "55423-8", "Number of steps in unspecified time Pedometer")
CALORIES_BURNED = Coding(LOINC, "41981-2", "Calories burned")
ACTIVITY = Coding(OBSERVATION_CATEGORY, "activity", "Activity")
VITAL_SIGNS = Coding(OBSERVATION_CATEGORY, "vital-signs", "Vital Signs")
OBSERVATION_STATISTICS = "http://terminology.hl7.org/CodeSystem/observation-statistics"
AVERAGE = Coding(OBSERVATION_STATISTICS, "average", "Average")
MINIMUM = Coding(OBSERVATION_STATISTICS, "minimum", "Minimum")
MAXIMUM = Coding(OBSERVATION_STATISTICS, "maximum", "Maximum")
COUNT = Coding(OBSERVATION_STATISTICS, "count", "Count")
STEPS_24_HOURS = Coding(LOINC, "41950-7", "Number of steps in 24 hour Measured")
