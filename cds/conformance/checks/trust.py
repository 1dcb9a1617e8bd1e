"""Section 1.9 of the checklist: who is let in. Most of it needs the key of an issuer that the server knows."""

from collections.abc import Callable

from cds.client.tokens import REPLAYED, Draft, draft
from cds.conformance.bench import Bench, JsonObject
from cds.conformance.model import Check, Level, NotApplicable, Skipped, must

CLAUSE = "Trusting CDS Clients"
NO_KEY = "no issuer's key was given (--key, --iss): only a known issuer can show what is refused"
UNLISTED = "https://unlisted.example"


def _status(bench: Bench, flaw: str | None = None) -> int:
    """Return the status of a good call with a broken token, or without one."""
    service = bench.service()
    path = f"/cds-services/{service['id']}"
    token = bench.remote.token(path, flaw) if flaw else None
    return bench.send("POST", path, body=bench.body(service), token=token).status_code


def _closed(bench: Bench) -> None:
    if bench.remote.client is None:
        raise Skipped(NO_KEY)
    if bench.options.open_on_purpose:
        raise NotApplicable("the server is known to be open to those who show no token (--open)")
    must(_status(bench) == 401, "a call without a token is answered")


def _needs_key(bench: Bench) -> None:
    """Go on where tokens can be made and are looked at: a server may be open and still refuse a false one."""
    if bench.remote.client is None:
        raise Skipped(NO_KEY)
    if 401 not in {_status(bench), _status(bench, "bad-signature")}:
        raise NotApplicable("the server looks at no tokens")


def _good(bench: Bench) -> None:
    if bench.remote.client is None:
        raise Skipped(NO_KEY)
    must(bench.discover().status_code != 401, "discovery refuses a good token")
    service = bench.services()[0]
    must(bench.call(service, bench.body(service)).status_code != 401, "a call refuses a good token")


def _refuses(flaw: str) -> Callable[[Bench], None]:
    def run(bench: Bench) -> None:
        _needs_key(bench)
        service = bench.service()
        path, body = f"/cds-services/{service['id']}", bench.body(service)
        token = bench.remote.token(path, flaw)
        if flaw == REPLAYED:
            bench.send("POST", path, body=body, token=token)
        status = bench.send("POST", path, body=body, token=token).status_code
        must(status == 401, f"answered {status}")

    return run


def _shows(bench: Bench, change: Callable[[Draft], Draft], path: str | None = None) -> int:
    """Return the status of a call whose good token was changed before it was signed."""
    _needs_key(bench)
    service = bench.service()
    called = f"/cds-services/{service['id']}"
    if bench.remote.client is None:
        raise Skipped(NO_KEY)
    token = change(draft(bench.remote.client, bench.remote.audience(path or called))).text()
    return bench.send("POST", called, body=bench.body(service), token=token).status_code


def _audiences(bench: Bench) -> None:
    status = _shows(bench, lambda made: made.having("claims", aud=["https://other.example", made.claims["aud"]]))
    must(status == 200, f"an array of audiences with the right one is answered {status}")


def _other_url(bench: Bench) -> None:
    must(_shows(bench, lambda made: made, "/cds-services") == 401, "a token for discovery opens a service")


def _feedback_url(bench: Bench) -> None:
    _needs_key(bench)
    service = bench.service()
    path = f"/cds-services/{service['id']}/feedback"
    body: JsonObject = {"feedback": []}
    if bench.feedback(service, body).status_code in {404, 405}:
        raise NotApplicable("there is no feedback endpoint")
    wrong = bench.remote.token(f"/cds-services/{service['id']}")
    must(bench.send("POST", path, body=body, token=wrong).status_code == 401, "a token for a call opens feedback")
    must(bench.feedback(service, body).status_code != 401, "a token for the feedback URL is refused")


def _bare(bench: Bench) -> None:
    _needs_key(bench)
    service = bench.service()
    answer = bench.call(service, bench.body(service), "expired")
    must(answer.status_code == 401, f"answered {answer.status_code}")
    told = f"{answer.text} {answer.headers.get('WWW-Authenticate', '')}".lower()
    must(not any(word in told for word in ("expire", "exp ", "claim", "signature", "token")), "the 401 says why")
    must("WWW-Authenticate" in answer.headers, "the 401 has no challenge")


def _field_tokens(bench: Bench) -> None:
    """What Epic sends: `sub`, `nbf` five minutes back, a life of 15 minutes; and claims that nobody knows."""

    def as_epic(made: Draft) -> Draft:
        issued = made.claims["iat"]
        return made.having("claims", sub="client-1", nbf=issued - 300, exp=issued + 900, fhirContext="x")

    status = _shows(bench, as_epic)
    must(status == 200, f"such a token is answered {status}")


def _certificates(_bench: Bench) -> None:
    raise Skipped("client certificates are a matter of the site's TLS terminator")


def _preflight(bench: Bench, origin: str) -> tuple[int, str, str]:
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    path = f"/cds-services/{bench.service()['id']}"
    answer = bench.send("OPTIONS", path, headers=asked | {"Origin": origin})
    allowed, credentials = (
        answer.headers.get(f"Access-Control-Allow-{name}", "") for name in ("Origin", "Credentials")
    )
    return answer.status_code, allowed, credentials.lower()


def _listed_origin(bench: Bench) -> None:
    if bench.options.origin is None:
        raise NotApplicable("no browser origin was named that the server lists (--origin)")
    status, allowed, _ = _preflight(bench, bench.options.origin)
    must(status in {200, 204} and allowed in {bench.options.origin, "*"}, f"a listed origin is answered {status}")


def _unlisted_origin(bench: Bench) -> None:
    _, allowed, credentials = _preflight(bench, UNLISTED)
    must(not (allowed in {UNLISTED, "*"} and credentials == "true"), "any origin may call, with credentials")


def _echo(bench: Bench) -> None:
    must(_preflight(bench, UNLISTED)[1] != UNLISTED, "any origin is told that it is allowed")


# row, level -> flaws of `cds.client.tokens`
_FLAWS = {
    ("J2", Level.MUST): (
        "none-alg", "none-alg-in-capitals", "hmac-with-public-key", "no-signature", "bad-signature", "other-key",
        "own-key-in-header", "no-kid", "no-typ", "wrong-typ", "no-iss", "no-aud", "no-exp", "no-iat", "no-jti",
        "text-exp", "critical-header",
    ),
    ("J3", Level.MUST): ("wrong-aud",),
    ("J4", Level.SHOULD): ("wrong-iss", "unknown-kid", "foreign-jku"),
    ("J5", Level.SHOULD): (REPLAYED, "expired", "not-yet-valid", "issued-in-the-future", "too-long-life"),
}  # fmt: skip
_REFUSALS = tuple(
    Check(f"{row}.{number}", level, CLAUSE, f"a token is refused: {flaw}", _refuses(flaw))
    for (row, level), flaws in _FLAWS.items()
    for number, flaw in enumerate(flaws, start=10)
)
CHECKS = (
    Check("J1.1", Level.SHOULD, CLAUSE, "calls need authentication", _closed),
    Check("J2.1", Level.MUST, CLAUSE, "a good token is let in", _good),
    Check("J3.1", Level.MUST, CLAUSE, "aud may be an array that holds the URL called", _audiences),
    Check("J3.2", Level.MUST, CLAUSE, "aud is the URL called, and not another of the server", _other_url),
    Check("J3.3", Level.MUST, CLAUSE, "feedback wants its own URL as aud", _feedback_url),
    *_REFUSALS,
    Check("J5.1", Level.SHOULD, CLAUSE, "a 401 has a challenge and no reason", _bare),
    Check("J6.1", Level.MAY, "Mutual TLS", "client certificates", _certificates),
    Check("J7.1", Level.MAY, "clients in the field", "nbf, sub, unknown claims and a life of 15 minutes are taken",
          _field_tokens),
    Check("J8.1", Level.MUST, "CORS", "a browser client of a listed origin may call", _listed_origin),
    Check("J8.2", Level.MUST, "CORS", "never every origin together with credentials", _unlisted_origin),
    Check("J8.3", Level.MAY, "own rule", "an unlisted origin is not told that it may", _echo),
)  # fmt: skip
