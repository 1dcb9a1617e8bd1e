"""The operating system's errors of the blob store in our words: their texts hold paths, ours do not."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def os_errors() -> Iterator[None]:
    """Raise NotFound for an absent file, Busy for what passes (a full or failing disk), Fault for the rest."""
    try:
        yield
    except FileNotFoundError:
        raise absent() from None
    except OSError as exc:
        code = errno.errorcode.get(exc.errno or 0, "unknown")
        if exc.errno in _PASSING:
            raise Busy(f"the blob store is full, read-only or overloaded ({code})") from None
        raise Fault(f"the blob store failed ({code})") from None
