"""The pause that a server asks for: Retry-After (RFC 9110 10.2.3)."""

import email.utils
from datetime import UTC, datetime


def retry_after_s(text: str) -> float | None:
    """Return seconds from now, None when the field's value asks for no pause, or is none."""
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        at = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter of a number in it that no date has
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
