"""The services, each a module and one line here. A duplicate (id, hook) stops start-up."""

from cds.services import diabetes_risk, imaging_findings

SERVICES = (diabetes_risk.SERVICE, imaging_findings.SERVICE)
