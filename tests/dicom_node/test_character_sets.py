"""Text is read in the character set that it declares; where that is wrong, the object is kept and names nobody."""

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.charset import CODES_TO_ENCODINGS, convert_encodings, decode_bytes, python_encoding
from pydicom.valuerep import PN_DELIMS
from sqlalchemy import select

from clinical.identity import IssuerTable
from dicom_node.character_sets import decoded, encodings_of
from dicom_node.header import read_stored_header
from dicom_node.testing import cr_dataset, send_files, write_dicom
from record_store.tables import study

PLACE = b"PATIENT-IDENTIFIER-OF-THIRTY-TWO"


@dataclass(frozen=True)
class Written:
    """A Patient ID as it stands in the data set, and what it says; None when it says nothing reliable."""

    character_set: str | list[str]
    encoded: bytes
    said: str | None


RIGHT = {
    "Latin-1": Written("ISO_IR 100", "Müller-7".encode("latin-1"), "Müller-7"),
    "Latin-2": Written("ISO_IR 101", "Dvořák-7".encode("iso8859-2"), "Dvořák-7"),
    "Cyrillic": Written("ISO_IR 144", "Люк-7".encode("iso8859-5"), "Люк-7"),
    "Arabic": Written("ISO_IR 127", "قبا-7".encode("iso8859-6"), "قبا-7"),
    "Greek": Written("ISO_IR 126", "Διο-7".encode("iso8859-7"), "Διο-7"),
    "Hebrew": Written("ISO_IR 138", "שרו-7".encode("iso8859-8"), "שרו-7"),
    "Thai": Written("ISO_IR 166", "นาม-7".encode("tis-620"), "นาม-7"),
    "katakana": Written("ISO_IR 13", "ﾔﾏ-7".encode("shift_jis"), "ﾔﾏ-7"),
    "Unicode": Written("ISO_IR 192", "王-7".encode(), "王-7"),
    "Chinese": Written("GB18030", "王-7".encode("gb18030"), "王-7"),
    "kanji by escapes": Written(["", "ISO 2022 IR 87"], b"\x1b$B;3ED\x1b(B-7", "山田-7"),
    "hangul by escapes": Written(["", "ISO 2022 IR 149"], b"\x1b$)C\xb1\xe8-7", "김-7"),
}
WRONG = {
    "Latin-1 that is called Unicode": Written("ISO_IR 192", b"\xc4A-7", None),
    "another one, which looks the same": Written("ISO_IR 192", b"\xc5A-7", None),
    "bytes that GB18030 has not": Written("GB18030", b"\xff\xff-7", None),
    "an escape that ends within a character": Written(["", "ISO 2022 IR 87"], b"\x1b$B;\x1b(B", None),
    # Latin-1 has a character for every byte: nothing is lost, so two identifiers stay two.
    "a set that nobody knows": Written("ISO_IR 999", b"\xc4A-7", "ÄA-7"),
    "bytes above ASCII without a set": Written("", b"\xc4A-7", "ÄA-7"),
}


def file_with(written, folder):
    ds = cr_dataset(np.zeros((8, 8), np.uint16), PatientID=PLACE.decode())
    ds.SpecificCharacterSet = written.character_set
    path = write_dicom(ds, folder / "image.dcm")
    path.write_bytes(path.read_bytes().replace(PLACE, written.encoded.ljust(len(PLACE))))
    return path


@pytest.mark.parametrize("case", [*RIGHT, *WRONG])
@pytest.mark.filterwarnings("ignore:Unknown encoding")  # as the test writes it
def test_an_identifier_is_what_its_character_set_says_or_nobody_s(case, tmp_path):
    written = (RIGHT | WRONG)[case]
    header = read_stored_header(file_with(written, tmp_path))
    patient = IssuerTable({}).from_dicom(header.issuer_of_patient_id, header.patient_id)
    assert (patient.value if patient else None) == written.said


@pytest.mark.slow
def test_an_object_in_a_wrong_character_set_is_taken_bit_for_bit_and_names_nobody(node, tmp_path):
    node.start()
    written = WRONG["Latin-1 that is called Unicode"]
    path = file_with(written, tmp_path)
    assert send_files([path], node.port) == [0x0000]
    with node.db.read() as conn:
        assert conn.execute(select(study)).mappings().one()["patient_value"] is None
    (stored,) = node.stored()
    assert written.encoded.ljust(len(PLACE)) in stored


NAMES = sorted(python_encoding)
ESCAPES = sorted(CODES_TO_ENCODINGS)
some_text = st.lists(
    st.one_of(
        st.sampled_from(ESCAPES),
        st.sampled_from([b"\x1b", b"\x1b$", b"\x1b(Z", b"=", b"^", b"\\", b" ", b"A"]),
        st.binary(max_size=6),
    ),
    max_size=6,
).map(b"".join)


@settings(max_examples=500, deadline=None)
@given(
    declared=st.lists(st.sampled_from([*NAMES, "ISO-IR 100", "ISO 2022-IR 87", "nobody's", "utf-8"]), max_size=3),
    value=some_text,
    in_a_name=st.booleans(),
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_any_bytes_in_any_character_sets_are_the_text_that_pydicom_reads(declared, value, in_a_name):
    delimiters = PN_DELIMS if in_a_name else set()
    expected = decode_bytes(value, convert_encodings(list(declared)), delimiters)
    encodings = encodings_of("\\".join(declared).encode())
    assert decoded(value, encodings, delimiters) == expected.strip("\0 ")


def test_a_character_set_that_the_standard_names_is_read_without_pydicom():
    code = """
import sys
from dicom_node.character_sets import decoded, encodings_of
for declared, value in (
    (b"ISO_IR 192", "Müller".encode()), (b"ISO_IR 100 ", b"M\\xfcller"), (b"GB18030", "王".encode("gb18030")),
    (b"\\\\ISO 2022 IR 87", b"\\x1b$B;3ED\\x1b(B"), (b"ISO 2022 IR 6\\\\ISO 2022 IR 149", b"\\x1b$)C\\xb1\\xe8"),
):
    print(decoded(value, encodings_of(declared), set()))
assert not {"pydicom", "numpy"} & set(sys.modules)
"""
    run = [sys.executable, "-X", "utf8", "-c", code]
    said = subprocess.run(run, check=True, capture_output=True, encoding="utf-8")
    assert said.stdout.split() == ["Müller", "Müller", "王", "山田", "김"]
