"""The 31 source attributes of predictive decision support: 45 CFR 170.315(b)(11)(iv)(B), in the rule's order.

A manifest answers each; `NOT_ASSESSED` is an answer, silence is not.
"""

from dataclasses import dataclass

NOT_ASSESSED = "not assessed"


@dataclass(frozen=True, slots=True)
class SourceAttribute:
    """One attribute. clause: its paragraph under (b)(11)(iv)(B); key: its name in a manifest."""

    clause: str
    key: str
    title: str


SECTIONS = {
    "1": "Details and output of the intervention",
    "2": "Purpose of the intervention",
    "3": "Cautioned out-of-scope use of the intervention",
    "4": "Intervention development details and input features",
    "5": "Process used to ensure fairness in development",
    "6": "External validation process",
    "7": "Quantitative measures of performance",
    "8": "Ongoing maintenance of implementation and use",
    "9": "Update and continued validation or fairness assessment schedule",
}
ATTRIBUTES = tuple(
    SourceAttribute(clause, key, title)
    for clause, key, title in (
        ("1.i", "developer", "Name and contact information of the developer"),
        ("1.ii", "funding", "Funding source of the technical implementation"),
        ("1.iii", "output_value", "Description of the value that is produced as an output"),
        ("1.iv", "output_type", "Type of output: prediction, classification, recommendation or other"),
        ("2.i", "intended_use", "Intended use"),
        ("2.ii", "intended_population", "Intended patient population"),
        ("2.iii", "intended_users", "Intended users"),
        ("2.iv", "decision_role", "Intended decision-making role"),
        ("3.i", "out_of_scope", "Tasks, situations or populations for which use is cautioned against"),
        ("3.ii", "risks", "Known risks, inappropriate settings and uses, limitations"),
        ("4.i", "inclusion_exclusion", "Inclusion and exclusion criteria of the training data"),
        ("4.ii", "sensitive_inputs", "Use of demographic, social and health assessment variables as inputs"),
        ("4.iii", "training_representativeness", "Demographic representativeness of the training data"),
        ("4.iv", "training_relevance", "Relevance of the training data to the setting of use"),
        ("5.i", "fairness_approach", "Approach to ensure that the output is fair"),
        ("5.ii", "bias_approach", "Approaches to manage, reduce or eliminate bias"),
        ("6.i", "external_source", "Data source, setting or environment of external validation"),
        ("6.ii", "external_party", "Party that conducted the external testing"),
        ("6.iii", "external_representativeness", "Demographic representativeness of the external data"),
        ("6.iv", "external_process", "Description of the external validation process"),
        ("7.i", "validity_internal", "Validity in test data of the same source"),
        ("7.ii", "fairness_internal", "Fairness in test data of the same source"),
        ("7.iii", "validity_external", "Validity in external data"),
        ("7.iv", "fairness_external", "Fairness in external data"),
        ("7.v", "outcome_evaluations", "References to evaluations of use on outcomes"),
        ("8.i", "validity_monitoring", "How and how often validity is monitored over time"),
        ("8.ii", "validity_local", "Validity in local data"),
        ("8.iii", "fairness_monitoring", "How and how often fairness is monitored over time"),
        ("8.iv", "fairness_local", "Fairness in local data"),
        ("9.i", "update_process", "How and how often the model is updated"),
        ("9.ii", "correction_process", "How often performance is corrected when risks are found"),
    )
)
