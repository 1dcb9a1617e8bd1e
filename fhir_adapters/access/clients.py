"""The clients file: TOML, one `[[client]]` for each system that may ask for tokens. docs/access.md shows one.

A mistake in it stops start-up with the place and what was expected, never with the value.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from clinical.errors import IncorrectInput
from fhir_adapters.access import scopes as scopes_
from fhir_adapters.access.grant import TREATMENT
from fhir_adapters.access.restriction import problem_of
from fhir_adapters.access.scopes import Scope, ScopeMalformed
from fhir_adapters.allow_list import AllowedServer, Network
from fhir_adapters.search.index import ID
from fhir_adapters.trust.jwk import RECOMMENDED, Algorithm, VerifyKey
from fhir_adapters.trust.toml_file import AbsoluteUrl, FileWrong, ShortName, Strict, Text, document_of, keys_of
from fhir_adapters.trust.toml_file import in_words as words_of

RESERVED = {"anonymous", "operator", "unknown", "bearer-token"}  # callers who are no clients, in metrics and audit
ASSERTION_LIFE_S = 300  # SMART: "exp" at most five minutes ahead
TOKEN_LIFE_S = 300
ALGORITHMS = (*RECOMMENDED, Algorithm.ES256, Algorithm.RS256)


@dataclass(frozen=True, slots=True)
class Client:
    """One system that may ask for access tokens; a `fhir_adapters.trust.signatory.Signatory`.

    name: short and unique, for metrics and audit. iss: its client_id, which its assertions name as iss and sub.
    keys: known beforehand. jku: its JWK Set's addresses (jwks_uri). scopes: the most that it may ask for.
    patient: the one whom its patient/ scopes are about; "" lets it name one with each request.
    token_life_s: of its access tokens. purposes: v3-ActReason codes that it may name, the usual one first.
    actor: the reference by which Consents name it. introspect: it may ask about tokens of others.
    """

    name: str
    iss: str
    keys: tuple[VerifyKey, ...] = field(default=(), repr=False)
    jku: tuple[str, ...] = ()
    algorithms: frozenset[Algorithm] = frozenset(RECOMMENDED)
    scopes: tuple[Scope, ...] = ()
    patient: str = ""
    token_life_s: int = TOKEN_LIFE_S
    leeway_s: int = 60
    network: Network = Network.PUBLIC
    purposes: tuple[str, ...] = (TREATMENT,)
    actor: str = ""
    introspect: bool = False
    max_life_s: int = ASSERTION_LIFE_S


def _scope(text: str) -> str:
    try:
        problem = problem_of(scopes_.parse(text))
    except ScopeMalformed as exc:
        raise ValueError(str(exc)) from None
    if problem is not None:
        raise ValueError(problem)
    return text


ScopeText = Annotated[str, AfterValidator(_scope)]
ActReason = Annotated[str, Field(pattern=r"^[A-Z]{1,16}$")]


class Entry(Strict):
    """One `[[client]]`."""

    name: ShortName
    client_id: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[!-~]+$")]
    keys: tuple[dict[str, object], ...] = ()
    keys_file: Path | None = None
    jwks_uri: AbsoluteUrl | None = None
    algorithms: tuple[Algorithm, ...] = Field(default=RECOMMENDED, min_length=1)
    scopes: tuple[ScopeText, ...] = Field(min_length=1, max_length=scopes_.MAX_SCOPES)
    patient: Annotated[str, Field(pattern=rf"^{ID.pattern}$")] | None = None
    token_life_s: int = Field(default=TOKEN_LIFE_S, strict=True, ge=30, le=3600)
    leeway_s: int = Field(default=60, strict=True, ge=0, le=300)
    network: Network = Network.PUBLIC
    purposes: tuple[ActReason, ...] = Field(default=(TREATMENT,), min_length=1)
    actor: Annotated[Text, Field(pattern=r"^[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}$")] | None = None
    introspect: bool = False

    @model_validator(mode="after")
    def _can_be_recognised(self) -> Self:
        if not (self.keys or self.keys_file or self.jwks_uri):
            raise ValueError("expected keys, keys_file or jwks_uri")
        if not set(self.algorithms) <= set(ALGORITHMS):
            raise ValueError(f"expected algorithms among {', '.join(sorted(ALGORITHMS))}")
        if self.jwks_uri is not None:
            try:
                AllowedServer(self.jwks_uri, self.network)
            except IncorrectInput as exc:
                raise ValueError(f"jwks_uri: {exc.message}") from None
        if self.patient is not None and not any(text.startswith("patient/") for text in self.scopes):
            raise ValueError("patient: expected with scopes that begin with patient/")
        return self


@dataclass(frozen=True, slots=True)
class Clients:
    """Everything that the clients file says."""

    every: tuple[Client, ...]

    def by_id(self, client_id: str) -> Client | None:
        """Return the client of this id, compared letter by letter."""
        return next((one for one in self.every if one.iss == client_id), None)

    def named(self, name: str) -> Client | None:
        """Return the client of this short name."""
        return next((one for one in self.every if one.name == name), None)


def read(path: Path, *, production: bool = False) -> Clients:
    """Return what a clients file says.

    production: refuses clients whose keys are on loopback. Raises FileWrong with every mistake that was found.
    """
    document = document_of(path)
    entries = document.get("client")
    wrong = [f"{key}: not known at the top of the file" for key in document.keys() - {"client"}]
    if not isinstance(entries, list) or not entries:
        raise FileWrong([*wrong, "client: expected at least one [[client]]"])
    clients = []
    for number, entry in enumerate(entries, 1):
        try:
            clients.append(_client(entry, path.parent))
        except FileWrong as exc:
            wrong.extend(f"client {number}: {line}" for line in exc.lines)
    wrong.extend(_together(clients))
    if production:
        wrong.extend(
            f"{one.name}: network 'loopback' is not for the production profile"
            for one in clients
            if one.network is Network.LOOPBACK
        )
    if wrong:
        raise FileWrong(wrong)
    return Clients(tuple(clients))


def _client(entry: object, folder: Path) -> Client:
    if not isinstance(entry, dict):
        raise FileWrong(["expected a table"])
    try:
        checked = Entry.model_validate(entry)
    except ValidationError as exc:
        raise FileWrong(words_of(exc)) from None
    keys_file = folder / checked.keys_file if checked.keys_file else None
    return Client(
        name=checked.name,
        iss=checked.client_id,
        keys=keys_of(checked.keys, keys_file),
        jku=(checked.jwks_uri,) if checked.jwks_uri else (),
        algorithms=frozenset(checked.algorithms),
        scopes=tuple(scopes_.parse(text) for text in checked.scopes),
        patient=checked.patient or "",
        token_life_s=checked.token_life_s,
        leeway_s=checked.leeway_s,
        network=checked.network,
        purposes=checked.purposes,
        actor=checked.actor or "",
        introspect=checked.introspect,
    )


def _together(clients: list[Client]) -> Iterator[str]:
    """Yield what is wrong between clients: whose an assertion is must never be a guess."""
    for what, given in (("name", [one.name for one in clients]), ("client_id", [one.iss for one in clients])):
        twice = any(given.count(one) > 1 for one in given)
        if twice:
            yield f"{what}: one is given twice"
    yield from (f"name: {one.name} is taken by this server" for one in clients if one.name in RESERVED)
