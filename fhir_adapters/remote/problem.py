"""Why another server has not done what it was asked for."""

from clinical.errors import PreconditionMissing


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
