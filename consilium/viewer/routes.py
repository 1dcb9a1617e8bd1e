"""/viewer/: the mounted viewer's files. What is shown is asked of /dicom-web, behind its gate."""

import mimetypes
import re
from collections.abc import Callable
from pathlib import Path

from flask import Blueprint, Response, request
from werkzeug.security import safe_join

from clinical.errors import NotFound

ROOT = "/viewer"
# 'unsafe-eval' is for the SEG alone: the viewer's ndarray builds its loops as source text. Nothing of another
# origin can be loaded or asked, so there is no text from elsewhere to evaluate.
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; worker-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_HASHED = re.compile(r"[0-9a-f]{16}")
_TYPES = {
    ".css": "text/css",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}


def blueprint(folder: Path) -> Blueprint:
    """Return the routes of the viewer. folder: what `make viewer` has made; absent, they are 404 in words."""
    routes = Blueprint("viewer", __name__)
    answer = _files(folder)
    routes.add_url_rule(f"{ROOT}/", view_func=lambda: answer("index.html"), endpoint="page", methods=["GET"])
    routes.add_url_rule(f"{ROOT}/<path:name>", view_func=answer, endpoint="file", methods=["GET"])
    return routes


def _files(folder: Path) -> Callable[[str], Response]:
    def answer(name: str) -> Response:
        if not (folder / "index.html").is_file():
            raise NotFound("the viewer is not installed here (make viewer)")
        if not Path(name).suffix:
            name = "index.html"  # an address of the viewer's own; a missing file with a name stays 404
        found = safe_join(str(folder), name)
        if found is None or not Path(found).is_file():
            raise NotFound("the viewer has no such file")
        packed = "gzip" in request.headers.get("Accept-Encoding", "") and Path(f"{found}.gz").is_file()
        data = Path(f"{found}.gz" if packed else found).read_bytes()
        usual = mimetypes.guess_type(name)[0] or "application/octet-stream"
        response = Response(data, content_type=_TYPES.get(Path(name).suffix, usual))
        if packed:
            response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
        kept = "max-age=31536000, immutable" if _HASHED.search(name) else "no-cache"
        response.headers["Cache-Control"] = kept
        response.headers["Content-Security-Policy"] = POLICY
        return response

    return answer
