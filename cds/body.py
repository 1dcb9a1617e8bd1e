"""Reading the body of a request to the hooks: JSON, whole, within a size, in one plain form."""

from flask import request
from werkzeug.exceptions import UnsupportedMediaType

from clinical.errors import IncorrectInput
from fhir_adapters import strict_json

MAX_BODY_BYTES = 5 * 1024 * 1024
JSON = "application/json"
READS = "a hook call is read as application/json, in UTF-8 and not compressed"


def read_body() -> dict[str, object]:
    """Return the JSON object that was sent. Raises IncorrectInput, or the HTTP layer's 413 and 415."""
    # Nearly every call says just this; taking the header apart takes longer than parsing a small body.
    usual = request.content_type == JSON and "Content-Encoding" not in request.headers
    if not usual and not _is_plain_json():
        raise UnsupportedMediaType(READS)
    request.max_content_length = MAX_BODY_BYTES
    try:
        data = request.get_data(cache=False)
    except OSError:
        # gunicorn's words for a body whose framing is broken or that never came.
        raise IncorrectInput("the body did not arrive whole") from None
    return strict_json.load_object(data, max_bytes=MAX_BODY_BYTES)


def _is_plain_json() -> bool:
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    return request.mimetype == JSON and encoding == "identity" and charset in {"utf-8", "utf8"}
