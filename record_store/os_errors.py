"""The operating system's errors of the blob store in our words: their texts hold paths, ours do not."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from clinical.errors import Busy, Fault, NotFound

_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM}


def absent() -> NotFound:
    """Return the error for an object that is not in the store."""
    return NotFound("no such object in the blob store")


@contextmanager
def os_errors() -> Iterator[None]:
    """Raise NotFound for an absent file, Busy for what passes (a full disk), Fault for the rest."""
    try:
        yield
    except FileNotFoundError:
        raise absent() from None
    except OSError as exc:
        code = errno.errorcode.get(exc.errno or 0, "unknown")
        if exc.errno in _PASSING:
            raise Busy(f"the blob store is full or overloaded ({code})") from None
        raise Fault(f"the blob store failed ({code})") from None
