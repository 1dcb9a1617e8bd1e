"""Answers to the 31 source attributes (model_runtime.source_attributes) as every recipe begins them."""

from model_runtime.source_attributes import ATTRIBUTES, NOT_ASSESSED

HOUSE = {
    "developer": "The Consilium founders, reached through the issues of the project's repository; no support is "
    "promised.",
    "funding": "None: built by volunteers.",
    "intended_users": "Clinical-AI teams and integration engineers who evaluate decision support; clinicians only "
    "under a protocol of their institution.",
    "decision_role": "Informs: a person looks at the record or the image and decides. Nothing is ordered, "
    "recorded as a diagnosis or withheld because of it.",
    "outcome_evaluations": "None: no study of effects on outcomes was made.",
    "validity_monitoring": "Continuously, by the server: drift of inputs and scores against the training data "
    "(/metrics), and feedback on cards. No schedule beyond what a site sets.",
    "update_process": "By hand: a recipe is run again on new data and passes the export gate; "
    "`consilium-export compare` shows what changed.",
    "correction_process": "When a site reports a fault: no frequency is promised.",
}


def answers(**known: str) -> dict[str, str]:
    """Return all 31 answers: the recipe's, else the house's, else "not assessed".

    Raises ValueError for a key that the rule does not have.
    """
    keys = [attribute.key for attribute in ATTRIBUTES]
    unknown = sorted(set(known) - set(keys))
    if unknown:
        raise ValueError(f"no source attributes: {', '.join(unknown)}")
    return {key: known.get(key, HOUSE.get(key, NOT_ASSESSED)) for key in keys}
