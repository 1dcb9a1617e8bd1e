"""The operating system's errors of the blob store in our words: their texts hold paths, ours do not."""

import errno
from types import TracebackType

from clinical.errors import Busy, Fault, NotFound

# A disk that is full, read-only or failing says nothing of the object: whoever sent it is to send it again.
_PASSING = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.EAGAIN,
    errno.ENOMEM,
}


def absent() -> NotFound:
    """Return the error for an object that is not in the store."""
    return NotFound("no such object in the blob store")


class _OsErrors:
    """One for all: a generator would cost several microseconds each time, and each object passes a dozen."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Raise our error for one of the operating system."""
        if isinstance(error, FileNotFoundError):
            raise absent() from None
        if isinstance(error, OSError):
            code = errno.errorcode.get(error.errno or 0, "unknown")
            if error.errno in _PASSING:
                raise Busy(f"the blob store is full, read-only or overloaded ({code})") from None
            raise Fault(f"the blob store failed ({code})") from None


_ONE = _OsErrors()


def os_errors() -> _OsErrors:
    """Raise NotFound for an absent file, Busy for what passes (a full or failing disk), Fault for the rest."""
    return _ONE
