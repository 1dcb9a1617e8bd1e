"""Why another server has not done what it was asked for."""

import email.utils
from datetime import UTC, datetime

from clinical.errors import PreconditionMissing
from fhir_adapters.remote.exchange import Answer


class RemoteProblem(PreconditionMissing):
    """reason: without address, token or patient. status: HTTP, None without an answer.

    may_pass: trying again later may help. retry_after_s: the pause that the server asks for.
    """

    def __init__(
        self,
        reason: str,
        *,
        status: int | None = None,
        may_pass: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.may_pass = may_pass
        self.retry_after_s = retry_after_s


class ChangedThere(RemoteProblem):
    """The resource is not the version any more that an update was made for (412, 409)."""


def retry_after_s(answer: Answer) -> float | None:
    """Return the pause that Retry-After asks for (RFC 9110 10.2.3), None when it asks for none."""
    said = answer.headers.get("retry-after", "")
    if said.isascii() and said.isdigit() and len(said) < 10:
        return float(said)
    try:
        at = email.utils.parsedate_to_datetime(said)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
