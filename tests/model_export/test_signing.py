import base64
import shutil
import stat
import subprocess

import pytest
from typer.testing import CliRunner

from clinical.errors import Fault, IncorrectInput
from model_export.cli import app
from model_export.signing import new_key, private_key, public_text, sign
from model_export.testing import write_tiny_risk, write_tiny_variants
from model_runtime.library import Library
from model_runtime.signature import is_signed, public_key

RISK = "diabetes-risk"
# RFC 8032, section 7.1, test 2: the message is the one byte 0x72.
RFC_PUBLIC = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
RFC_SIGNATURE = (
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not on this machine")


def openssl(*arguments):
    return subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True).stdout


@pytest.fixture
def key(tmp_path):
    """The file of a private key, and its public key."""
    path = tmp_path / "release.pem"
    return path, new_key(path)


@pytest.fixture
def folder(tmp_path):
    return write_tiny_risk(tmp_path / "models")


def test_the_signature_of_the_standard_s_example_is_accepted_and_no_other(tmp_path):
    file = tmp_path / "manifest.sig"
    file.write_bytes(base64.b64encode(bytes.fromhex(RFC_SIGNATURE)))
    assert is_signed(b"\x72", file, [bytes.fromhex(RFC_PUBLIC)])
    assert not is_signed(b"\x73", file, [bytes.fromhex(RFC_PUBLIC)])


def test_a_signed_model_is_trusted_where_its_key_is(folder, key):
    path, public = key
    assert sign(folder, path) == folder / "manifest.sig"
    assert Library(folder.parent, [public_key(public)]).verify(RISK)


def test_a_model_signed_again_by_another_key_is_that_ones(folder, key, tmp_path):
    path, public = key
    sign(folder, path)
    other = new_key(tmp_path / "other.pem")
    sign(folder, tmp_path / "other.pem")
    assert Library(folder.parent, [public_key(other)]).manifest(RISK)
    with pytest.raises(Fault, match="not signed by a trusted key"):
        Library(folder.parent, [public_key(public)]).manifest(RISK)


def test_a_model_with_several_graphs_is_signed_as_a_whole(tmp_path, key):
    folder = write_tiny_variants(tmp_path / "models")
    sign(folder, key[0])
    assert set(Library(folder.parent, [public_key(key[1])]).verify_all("two-risk")) == {"lab", "no_lab"}


@pytest.mark.parametrize("file", ["model.onnx", "golden.npz", "manifest.json"])
def test_a_model_that_is_not_what_its_manifest_says_is_not_signed(folder, key, file):
    (folder / file).write_bytes((folder / file).read_bytes()[:-3])
    with pytest.raises(Fault):
        sign(folder, key[0])
    assert not (folder / "manifest.sig").exists()


def test_a_private_key_is_readable_by_its_owner_only_and_never_replaced(key):
    path, _ = key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    with pytest.raises(IncorrectInput, match="File exists"):
        new_key(path)
    assert path.read_bytes() == before


def test_a_key_that_others_can_read_is_refused(folder, key):
    key[0].chmod(0o644)
    with pytest.raises(IncorrectInput, match="chmod 600"):
        sign(folder, key[0])


@pytest.mark.parametrize(
    "content", [b"", b"hunter2", b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"]
)
def test_what_is_no_key_is_refused_without_being_shown(tmp_path, content):
    path = tmp_path / "key.pem"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(IncorrectInput, match="does not hold") as caught:
        private_key(path)
    assert "hunter2" not in str(caught.value)


def test_an_absent_key_is_refused_with_the_reason(tmp_path):
    with pytest.raises(IncorrectInput, match="No such file"):
        private_key(tmp_path / "key.pem")


@needs_openssl
def test_a_key_that_openssl_made_signs_and_openssl_checks_what_we_signed(folder, tmp_path):
    path, public, signature = (tmp_path / name for name in ("key.pem", "public.pem", "signature"))
    openssl("genpkey", "-algorithm", "ed25519", "-out", path)
    path.chmod(0o600)
    signature.write_bytes(base64.b64decode(sign(folder, path).read_bytes()))
    public.write_bytes(openssl("pkey", "-in", path, "-pubout"))
    said = openssl(
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        public,
        "-rawin",
        "-in",
        folder / "manifest.json",
        "-sigfile",
        signature,
    )
    assert b"Verified Successfully" in said
    assert (
        public_key(public_text(private_key(path)))
        == openssl("pkey", "-in", path, "-pubout", "-outform", "DER")[-32:]
    )


@needs_openssl
def test_a_key_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "key.pem"
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)
    path.chmod(0o600)
    with pytest.raises(IncorrectInput, match="not an Ed25519 key"):
        private_key(path)


@needs_openssl
def test_an_encrypted_key_is_refused(tmp_path):
    path = tmp_path / "key.pem"
    openssl("genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:x", "-out", path)
    path.chmod(0o600)
    with pytest.raises(IncorrectInput, match="unencrypted"):
        private_key(path)


def test_the_command_line_makes_a_key_signs_with_it_and_says_in_one_line_what_is_wrong(tmp_path, folder):
    run = CliRunner().invoke
    path = tmp_path / "new.pem"
    public = run(app, ["keygen", str(path)]).stdout.strip()
    assert run(app, ["sign", str(folder), "--key", str(path)]).exit_code == 0
    assert Library(folder.parent, [public_key(public)]).manifest(RISK)
    (folder / "model.onnx").write_bytes(b"")
    refused = run(app, ["sign", str(folder), "--key", str(path)])
    assert (refused.exit_code, len(refused.stderr.strip().splitlines()) <= 2) == (1, True)
