"""Published keys: fetched ahead, changed without a refused token, kept while their server is away."""

import threading
from dataclasses import replace

import pytest

from clinical.errors import Busy
from fhir_adapters.trust import tokens
from fhir_adapters.trust.base64url import decode, encode
from fhir_adapters.trust.jwk import Algorithm, KeyUnfit, read_key, read_published
from fhir_adapters.trust.key_fetch import KeyFetcher, KeysAway
from fhir_adapters.trust.keys import ASK_BURST, ASK_EVERY_S, ASKING, GRACE_S, REFRESH_S, RETRY_S, STALE_S, KeyRing
from fhir_adapters.trust.testing import CannedFetcher, Signer

JKU = "https://ehr.example/jwks.json"
SECOND = "https://ehr.example/more.json"


class Clock:
    def __init__(self):
        self.at = 1000.0

    def __call__(self):
        return self.at


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def publisher(hospital):
    return replace(hospital, keys=(), jku=(JKU,))


def published(*signers):
    return {"keys": [signer.jwk for signer in signers]}


class Ring:
    """A ring without its thread: the test is the thread."""

    def __init__(self, profile, fetcher, clock, mint):
        self.ring, self.profile, self.mint = KeyRing([profile], fetcher, clock=clock), profile, mint
        self.ring.start = lambda: None

    def kids(self, signer, **header):
        token = tokens.parse(self.mint(signer, header=header))
        return [key.kid for key in self.ring.candidates(self.profile, token)]


@pytest.fixture
def make_ring(clock, mint):
    return lambda profile, fetcher: Ring(profile, fetcher, clock, mint)


def test_the_first_caller_finds_the_key_though_nothing_was_fetched_yet(publisher, make_ring, signers):
    fetcher = CannedFetcher({JKU: published(signers["ES384"])})
    ring = make_ring(publisher, fetcher)
    assert ring.kids("ES384") == ["kid-ES384"]
    assert ring.kids("ES384") == ["kid-ES384"]
    assert fetcher.asked == [JKU]


def test_a_new_key_is_found_by_the_first_token_that_it_signs(publisher, make_ring, signers):
    fetcher = CannedFetcher({JKU: published(signers["ES384"])})
    ring = make_ring(publisher, fetcher)
    ring.kids("ES384")
    fetcher.sets[JKU] = published(signers["ES384"], signers["RS384"])
    assert ring.kids("RS384") == ["kid-RS384"]
    assert ring.kids("ES384") == ["kid-ES384"]


def test_a_key_that_was_withdrawn_serves_on_for_a_minute_and_then_no_more(publisher, make_ring, signers, clock):
    fetcher = CannedFetcher({JKU: published(signers["ES384"])})
    ring = make_ring(publisher, fetcher)
    ring.kids("ES384")
    fetcher.sets[JKU] = published(signers["RS384"])
    assert ring.kids("RS384") == ["kid-RS384"]
    clock.at += GRACE_S - 1
    assert ring.kids("ES384") == ["kid-ES384"]
    clock.at += 2
    assert ring.kids("ES384") == []


def test_a_whole_rotation_refuses_no_token(publisher, make_house, signers, mint):
    fetcher = CannedFetcher({JKU: published(signers["ES384"])})
    house = make_house(publisher, fetcher=fetcher)
    said = [house.call(mint("ES384")).status_code]
    fetcher.sets[JKU] = published(signers["ES384"], signers["RS384"])  # both are published,
    said += [house.call(mint(name)).status_code for name in ("ES384", "RS384", "ES384")]
    fetcher.sets[JKU] = published(signers["RS384"])  # and then the new one alone
    said += [house.call(mint(name)).status_code for name in ("RS384", "RS384")]
    assert said == [200] * 6


def test_the_set_is_fetched_again_in_time(publisher, make_ring, signers, clock):
    fetcher = CannedFetcher({JKU: published(signers["ES384"])})
    ring = make_ring(publisher, fetcher)
    ring.ring.refresh_due()
    clock.at += REFRESH_S * 0.8
    ring.ring.refresh_due()
    assert len(fetcher.asked) == 1
    clock.at += REFRESH_S * 0.4
    ring.ring.refresh_due()
    assert len(fetcher.asked) == 2


def test_unknown_key_ids_have_the_set_fetched_a_few_times_and_no_oftener(publisher, make_ring, signers, clock):
    fetcher = CannedFetcher({JKU: published(signers["ES384"])})
    ring = make_ring(publisher, fetcher)
    ring.kids("ES384")
    for number in range(50):
        assert ring.kids("ES384", kid=f"made-up-{number}") == []
    assert len(fetcher.asked) == ASK_BURST
    clock.at += ASK_EVERY_S
    ring.kids("ES384", kid="made-up")
    ring.kids("ES384", kid="made-up")
    assert len(fetcher.asked) == ASK_BURST + 1


def test_keys_serve_on_while_their_server_is_away_up_to_a_day(publisher, make_ring, signers, clock):
    fetcher = CannedFetcher({JKU: published(signers["ES384"])})
    ring = make_ring(publisher, fetcher)
    ring.kids("ES384")
    fetcher.sets.clear()
    clock.at += REFRESH_S * 1.2
    ring.ring.refresh_due()
    assert ring.kids("ES384") == ["kid-ES384"]
    clock.at += STALE_S - REFRESH_S * 1.2
    assert ring.kids("ES384") == ["kid-ES384"]
    clock.at += 1
    with pytest.raises(Busy):
        ring.kids("ES384")


def test_while_a_server_is_away_callers_do_not_wait_for_it_again_and_again(publisher, make_ring, signers, clock):
    fetcher = CannedFetcher({})
    ring = make_ring(publisher, fetcher)
    for _ in range(20):
        with pytest.raises(Busy):
            ring.kids("ES384")
    assert len(fetcher.asked) == 1
    fetcher.sets[JKU] = published(signers["ES384"])
    clock.at += RETRY_S
    ring.ring.refresh_due()
    assert ring.kids("ES384") == ["kid-ES384"]


@pytest.mark.parametrize(
    "answer",
    [{}, {"keys": "none"}, {"keys": [{}] * 101}, "twins"],
)
def test_a_set_that_cannot_be_read_leaves_the_old_keys(answer, publisher, make_ring, signers, clock):
    fetcher = CannedFetcher({JKU: published(signers["ES384"])})
    ring = make_ring(publisher, fetcher)
    ring.kids("ES384")
    fetcher.sets[JKU] = published(signers["RS384"], signers["RS384"]) if answer == "twins" else answer
    clock.at += REFRESH_S * 1.2
    ring.ring.refresh_due()
    assert ring.kids("ES384") == ["kid-ES384"]


class Slow(CannedFetcher):
    """Begins to fetch, and ends when it is told."""

    def __init__(self, sets):
        super().__init__(sets)
        self.started, self.go = threading.Event(), threading.Event()

    def fetch(self, url):
        self.started.set()
        assert self.go.wait(30)
        return super().fetch(url)


def test_the_callers_of_one_moment_share_one_fetch(publisher, make_ring, signers):
    found = []
    fetcher = Slow({JKU: published(signers["ES384"])})
    ring = make_ring(publisher, fetcher)
    callers = [threading.Thread(target=lambda: found.append(ring.kids("ES384"))) for _ in range(ASKING)]
    for caller in callers:
        caller.start()
    assert fetcher.started.wait(30)
    fetcher.go.set()
    for caller in callers:
        caller.join()
    assert found == [["kid-ES384"]] * ASKING
    assert len(fetcher.asked) == 1


def test_what_a_caller_has_just_had_fetched_is_not_fetched_again_in_the_background(publisher, signers, mint):
    """A fetch of the old set that ended after the new one was asked for would refuse the new key's token."""
    looked = threading.Event()

    def clock():
        looked.set()
        return 1000.0

    fetcher = Slow({JKU: published(signers["ES384"])})
    ring = Ring(publisher, fetcher, clock, mint)
    caller = threading.Thread(target=ring.kids, args=("ES384",))
    caller.start()
    assert fetcher.started.wait(30)
    looked.clear()
    background = threading.Thread(target=ring.ring.refresh_due)
    background.start()
    assert looked.wait(30)
    fetcher.go.set()
    caller.join()
    background.join()
    assert len(fetcher.asked) == 1


def test_strangers_with_unknown_keys_do_not_take_every_thread(publisher, make_ring, signers, clock):
    fetcher = Slow({JKU: published(signers["ES384"])})
    fetcher.go.set()
    ring = make_ring(publisher, fetcher)
    ring.kids("ES384")
    fetcher.go.clear()
    strangers = [threading.Thread(target=ring.kids, args=("ES384",), kwargs={"kid": "x"}) for _ in range(ASKING)]
    for stranger in strangers:
        stranger.start()
    while ring.ring._asking._value:
        threading.Event().wait(0.001)
    with pytest.raises(Busy):
        ring.kids("ES384", kid="y")
    assert ring.kids("ES384") == ["kid-ES384"]  # whose key is known does not wait
    fetcher.go.set()
    for stranger in strangers:
        stranger.join()


def test_a_token_may_name_a_registered_address_and_then_its_keys_alone_count(publisher, make_ring, signers):
    both = replace(publisher, jku=(JKU, SECOND))
    fetcher = CannedFetcher({JKU: published(signers["ES384"]), SECOND: published(signers["RS384"])})
    ring = make_ring(both, fetcher)
    assert ring.kids("ES384", jku=JKU) == ["kid-ES384"]
    assert ring.kids("ES384", jku=SECOND) == []
    assert ring.kids("ES384") == ["kid-ES384"]
    assert ring.kids("RS384") == ["kid-RS384"]


def test_the_background_thread_fetches_and_ends(publisher, clock, signers):
    fetched = threading.Event()

    class Telling(CannedFetcher):
        def fetch(self, url):
            fetched.set()
            return super().fetch(url)

    ring = KeyRing([publisher], Telling({JKU: published(signers["ES384"])}), clock=clock)
    ring.start()
    ring.start()
    assert fetched.wait(30)
    ring.close()
    assert not ring._thread.is_alive()


def test_the_background_thread_outlives_a_surprise(publisher, clock):
    calls = threading.Semaphore(0)

    class Broken:
        def fetch(self, url):
            calls.release()
            raise RuntimeError

    ring = KeyRing([publisher], Broken(), clock=clock)
    ring.start()
    assert calls.acquire(timeout=30)
    assert calls.acquire(timeout=30)
    ring.close()


def test_of_a_published_set_what_is_not_for_us_is_left_out(signers):
    mixed = {
        "keys": [
            signers["ES384"].jwk,
            signers["ES384"].jwk | {"kid": "b", "use": "enc"},
            signers["ES384"].jwk | {"kid": "c", "key_ops": ["encrypt"]},
            signers["ES384"].key.as_dict(private=True) | {"kid": "d"},
            {"kty": "oct", "kid": "e", "k": "c2VjcmV0"},
            {"kty": "OKP", "kid": "f", "crv": "Ed25519", "x": "AA"},
            {"kty": "EC", "kid": "g", "crv": "P-384", "x": "AA", "y": "AA"},
            "not even a key",
        ]
    }
    assert [key.kid for key in read_published(mixed)] == ["kid-ES384"]


@pytest.mark.parametrize("bits", [512, 1024, 2040])
def test_a_short_rsa_key_is_no_key(bits):
    modulus = part_of((1 << (bits - 1)) | 1, bits)
    with pytest.raises(KeyUnfit, match="2048"):
        read_key({"kty": "RSA", "kid": "a", "n": modulus, "e": "AQAB"})


def test_a_key_with_a_giant_exponent_is_no_key(signers):
    with pytest.raises(KeyUnfit, match="exponent"):
        read_key(signers["RS384"].jwk | {"e": part_of((1 << 2000) | 1, 2008)})


def part_of(number, bits):
    return encode(number.to_bytes(bits // 8))


def test_what_is_not_registered_is_not_fetched(publisher):
    with pytest.raises(KeysAway, match="not registered"):
        KeyFetcher([publisher]).fetch("https://evil.example/jwks.json")


def test_two_kinds_of_key_may_share_an_id(signers):
    pair = read_published({"keys": [signers["ES384"].jwk | {"kid": "a"}, signers["RS384"].jwk | {"kid": "a"}]})
    assert len(pair) == 2
    assert len(read_published({"keys": [Signer("a").jwk]})) == 1


# RFC 7515, appendices A.3 and A.4: signatures that others have made.
RFC_7515 = (
    (
        "ES256",
        {
            "kty": "EC",
            "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        },
        (
            "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0"
            "cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
        ),
    ),
    (
        "ES512",
        {
            "kty": "EC",
            "crv": "P-521",
            "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
            "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2",
        },
        (
            "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB"
            "34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn"
        ),
    ),
)


@pytest.mark.parametrize(("algorithm", "jwk", "token"), RFC_7515)
def test_the_examples_of_the_standard_verify(algorithm, jwk, token):
    signed, _, signature = token.rpartition(".")
    key = read_key(jwk | {"kid": "a"})
    assert key.serves(Algorithm(algorithm))
    assert key.verifies(Algorithm(algorithm), signed.encode(), decode(signature))
    assert not key.verifies(Algorithm(algorithm), signed.encode() + b"x", decode(signature))
