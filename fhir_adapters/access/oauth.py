"""The forms that come to the token endpoint and its kin, and what OAuth answers to them (RFC 6749 3.2, 5.2)."""

from collections.abc import Sequence

MAX_FORM_BYTES = 64 * 1024
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_MAX_FIELDS = 32


class OAuthError(Exception):
    """What the client is told: error is RFC 6749's code, status HTTP's. Why is told to the operator alone."""

    def __init__(self, error: str, status: int = 400, *, retry_after_s: int | None = None) -> None:
        super().__init__(error)
        self.error = error
        self.status = status
        self.retry_after_s = retry_after_s


def fields_of(pairs: Sequence[tuple[str, str]]) -> dict[str, str] | None:
    """Return a form's fields, those without a value left out; None when one stands twice (RFC 6749 3.2)."""
    names = [name for name, _ in pairs]
    if len(names) > _MAX_FIELDS or len(set(names)) != len(names):
        return None
    return {name: value for name, value in pairs if value}
