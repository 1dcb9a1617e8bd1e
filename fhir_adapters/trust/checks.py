"""The checks that every signed token must pass, whoever takes it: its times and its signature."""

from collections.abc import Iterator
from typing import Protocol

from clinical.errors import Busy
from fhir_adapters.trust.jwk import VerifyKey
from fhir_adapters.trust.refusal import Reason
from fhir_adapters.trust.signatory import Signatory
from fhir_adapters.trust.tokens import Token


class Keys(Protocol):
    """Where the keys of signatories are found: `fhir_adapters.trust.keys.KeyRing`."""

    def candidates(self, profile: Signatory, token: Token) -> tuple[VerifyKey, ...]:
        """Return the keys of a signatory with the token's kid. Raises Busy when none could be fetched yet."""
        ...

    def start(self) -> None:
        """Begin to fetch keys in the background."""


class KnownKeys:
    """The keys of the configuration alone: nothing is fetched."""

    def candidates(self, profile: Signatory, token: Token) -> tuple[VerifyKey, ...]:
        """Return the keys with the token's kid."""
        return tuple(key for key in profile.keys if key.kid == token.kid)

    def start(self) -> None:
        """Fetch nothing."""


def time_problems(token: Token, profile: Signatory, now: float) -> Iterator[Reason]:
    """Yield what is wrong with a token's times at `now` (seconds since 1970)."""
    leeway = profile.leeway_s
    if token.exp <= now - leeway:
        yield Reason.EXPIRED
    if token.nbf is not None and token.nbf > now + leeway:
        yield Reason.NOT_YET
    if token.iat is None:  # SMART leaves it out; then its life is measured from now
        if token.exp > now + leeway + profile.max_life_s:
            yield Reason.LIFE
        return
    if token.iat > now + leeway:
        yield Reason.FROM_THE_FUTURE
    if token.exp <= token.iat:
        yield Reason.BACKWARDS
    # Both by the signatory's clock, so without leeway.
    if token.exp - token.iat > profile.max_life_s:
        yield Reason.LIFE


def signature_problem(token: Token, profile: Signatory, keys: Keys) -> Reason | None:
    """Return what is wrong with the signature, or None."""
    try:
        candidates = keys.candidates(profile, token)
    except Busy:
        return Reason.KEYS_AWAY
    if not candidates:
        return Reason.KEY_UNKNOWN
    fit = [key for key in candidates if key.serves(token.algorithm)]
    if not fit:
        return Reason.KEY_UNFIT
    good = any(key.verifies(token.algorithm, token.signed, token.signature) for key in fit)
    return None if good else Reason.SIGNATURE
