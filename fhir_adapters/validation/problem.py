"""What is wrong with a resource: one finding, as an OperationOutcome says it (R4 2.3.3)."""

from dataclasses import dataclass

STRUCTURE, REQUIRED, VALUE, INVARIANT = "structure", "required", "value", "invariant"  # issue-type codes
CODE_INVALID, NOT_SUPPORTED, NOT_FOUND = "code-invalid", "not-supported", "not-found"
BUSINESS_RULE = "business-rule"


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem. code: of the value set issue-type. expression: FHIRPath of the element.

    text: says what is wrong and never what the value was: it may be a patient's. profile: the one that is not
    kept; "" when it is R4 itself.
    """

    code: str
    expression: str
    text: str
    severity: str = "error"
    profile: str = ""

    def as_issue(self) -> dict[str, object]:
        """Return the OperationOutcome.issue."""
        return {
            "severity": self.severity,
            "code": self.code,
            "details": {"text": f"{self.expression}: {self.text}"},
            "expression": [self.expression],
        }
