"""The services, each a module and one line here. A duplicate (id, hook) stops start-up."""

from cds.services import breast_lesion, diabetes_risk, heart_rate, imaging_findings, order_imaging

SERVICES = (
    breast_lesion.SERVICE,
    diabetes_risk.SERVICE,
    heart_rate.SERVICE,
    imaging_findings.SERVICE,
    *order_imaging.SERVICES,
)
