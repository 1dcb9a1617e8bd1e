"""What every answer says to browsers and caches, whichever door it came out of."""

from flask import Flask, Response

# An answer of ours is read by programs, or is one of our pages, which say more for themselves.
ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # our addresses hold ids
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",  # cards and resources are a patient's; what may be kept says so itself
}
HSTS = "max-age=63072000"


def harden(app: Flask, *, https: bool) -> None:
    """Add the headers to every answer that does not set its own, and let no address mean another.

    https: callers reach us by https, and should never try otherwise.
    """
    # Werkzeug would redirect `//fhir` to `http://<the Host header>/fhir`, in HTML and before any door of ours.
    app.url_map.merge_slashes = False

    always = ALWAYS | ({"Strict-Transport-Security": HSTS} if https else {})
    wanted = [(name.lower(), name, value) for name, value in always.items()]

    def add(response: Response) -> Response:
        headers = response.headers
        said = {name.lower() for name, _ in headers}
        # By hand: `setdefault` searches and splits anew for each name, which took 0.04 ms an answer.
        for key, name, value in wanted:
            if key not in said:
                headers.add(name, value)
        return response

    app.after_request(add)
