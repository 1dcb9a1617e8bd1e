"""The checks, one module for each part of the checklist, in the order in which they run."""

from cds.conformance.checks import calls, cards, contexts, data, discovery, feedback, grants, transport, trust
from cds.conformance.model import Check

# Last come the rules that hold for every answer seen until then.
CHECKS: tuple[Check, ...] = (
    *discovery.CHECKS,
    *calls.CHECKS,
    *contexts.CHECKS,
    *data.CHECKS,
    *grants.CHECKS,
    *cards.CHECKS,
    *feedback.CHECKS,
    *trust.CHECKS,
    *transport.CHECKS,
)
