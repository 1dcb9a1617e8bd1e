"""Which web pages may call the hooks from a browser (J8). Closed unless origins are listed; never `*`.

No cookies are read anywhere, so credentials are never allowed: a page must send its token itself.
"""

import re
from collections.abc import Iterable, Mapping

from clinical.errors import IncorrectInput

_ORIGIN = re.compile(r"https?://(?:[a-z0-9](?:[a-z0-9.\-]{0,251}[a-z0-9])?|\[[0-9a-f:]{2,45}\])(?::[0-9]{1,5})?")
_METHODS = {"GET", "POST"}
# A browser asks first about an Accept with quotes, as DICOMweb's `multipart/related; type="application/dicom"`.
ALLOWED = ("Accept", "Authorization", "Content-Type", "If-None-Match", "If-Range", "Range")
EXPOSED = ("Accept-Ranges", "Content-Range", "ETag", "Retry-After", "WWW-Authenticate", "Warning")
_HEADERS = {name.lower() for name in ALLOWED}
MAX_AGE_S = 600


class Cors:
    """The allow-list of origins, compared letter by letter (RFC 6454 6.2: lower case, no path)."""

    def __init__(self, origins: Iterable[str] = ()) -> None:
        """Raises IncorrectInput for what is no origin: `*`, `null`, a path or user information."""
        self._origins = frozenset(origins)
        if not all(_ORIGIN.fullmatch(origin) for origin in self._origins):
            raise IncorrectInput("an origin is https://host or https://host:port in lower case, without a path")

    @property
    def closed(self) -> bool:
        """True when no page may call; then no CORS header is ever sent."""
        return not self._origins

    def answer(self, request: Mapping[str, str]) -> dict[str, str]:
        """Return what to add to any answer. request: its headers, names in Title-Case."""
        if self.closed:
            return {}
        # Vary even for others: a cache must not hand one page the answer that another was given.
        headers = {"Vary": "Origin"}
        origin = request.get("Origin", "")
        if origin in self._origins:
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = ", ".join(EXPOSED)
        return headers

    def preflight(self, request: Mapping[str, str]) -> dict[str, str] | None:
        """Return the headers of a 204 to a preflight, or None when it is to be answered like any OPTIONS (405)."""
        method = request.get("Access-Control-Request-Method", "")
        asked = {name.strip().lower() for name in request.get("Access-Control-Request-Headers", "").split(",")} - {
            ""
        }
        if request.get("Origin", "") not in self._origins or method not in _METHODS or not asked <= _HEADERS:
            return None
        return self.answer(request) | {
            "Vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
            "Access-Control-Allow-Methods": "GET, POST",
            "Access-Control-Allow-Headers": ", ".join(ALLOWED),
            "Access-Control-Max-Age": str(MAX_AGE_S),
        }
