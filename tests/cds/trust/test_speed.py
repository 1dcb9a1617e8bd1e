"""What checking a token costs: printed, for a busy machine's figure is no claim."""

import time
from dataclasses import replace

import pytest

from fhir_adapters.trust.jwk import Algorithm, read_key

URL = "https://cds.example/cds-services/one-card"


@pytest.mark.slow
@pytest.mark.parametrize("signer", ["ES384", "RS384", "ES256"])
def test_how_long_a_token_takes(signer, make_house, hospital, mint, signers, capsys):
    profile = replace(hospital, keys=(read_key(signers[signer].jwk),), algorithms=frozenset({Algorithm(signer)}))
    door = make_house(profile).door
    shown = [{"Authorization": f"Bearer {mint(signer)}"} for _ in range(300)]
    took, cpu = [], time.process_time()
    for headers in shown:
        began = time.perf_counter()
        caller = door.admit(headers, URL)
        took.append((time.perf_counter() - began) * 1000)
        assert caller.name == "hospital"
    took.sort()
    each = (time.process_time() - cpu) * 1000 / len(took)
    with capsys.disabled():
        print(  # noqa: T201 - it is what the test is for
            f"\n{signer}: p50 {took[150]:.2f} ms, p99 {took[297]:.2f} ms, "
            f"{each:.2f} ms of CPU each: {1000 / each:.0f}/s"
        )
