"""The server's secret: made once, readable by us alone, different for every purpose."""

import threading

import pytest

from clinical.errors import Fault
from consilium.keys import derived_key, master_key
from consilium.settings import Settings


def test_the_key_is_made_once_and_kept(tmp_path) -> None:
    settings = Settings(data_dir=tmp_path)
    first = master_key(settings)
    assert master_key(settings) == first
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600


def test_processes_that_start_at_once_agree_on_one_key(tmp_path) -> None:
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(master_key(Settings(data_dir=tmp_path / "new"))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_damaged_key_is_refused(tmp_path) -> None:
    (tmp_path / "secret.key").write_bytes(b"short")
    with pytest.raises(Fault, match=r"secret\.key"):
        master_key(Settings(data_dir=tmp_path))


def test_a_configured_key_is_used(tmp_path) -> None:
    settings = Settings(data_dir=tmp_path, secret_key="x" * 32)
    assert master_key(settings) == b"x" * 32
    assert not (tmp_path / "secret.key").exists()


def test_a_page_token_can_never_be_taken_for_a_link() -> None:
    assert derived_key(b"k" * 32, "page-token") != derived_key(b"k" * 32, "overlay-link")
