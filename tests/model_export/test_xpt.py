"""SAS transport files: ours against two other writers, and against the layout's own arithmetic.

data/readstat.xpt: written by ReadStat through pyreadstat 1.3.7 (`write_xport(..., file_format_version=5)`).
data/xport.xpt: written by the package xport 2.0.2 (`from_columns`).
"""

import contextlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.errors import IncorrectInput
from model_export.datasets import nhanes_diabetes, nhanes_xpt
from model_export.datasets.folders import sets_at
from model_export.datasets.xpt import from_ibm, read_xpt

FILES = Path(__file__).parent / "data"


def ibm(value):
    """IBM double of a number, by exact fractions: value = fraction / 2^56 x 16^(exponent - 64), 1/16 <= f < 1."""
    exact, exponent = abs(Fraction(value)), 64
    if exact == 0:
        return bytes(8)
    while exact >= 1:
        exact, exponent = exact / 16, exponent + 1
    while exact < Fraction(1, 16):
        exact, exponent = exact * 16, exponent - 1
    return bytes([exponent | (0x80 if value < 0 else 0)]) + int(exact * 2**56).to_bytes(7)


def decoded(*cells):
    return from_ibm(np.frombuffer(b"".join(cells), np.uint8).reshape(-1, 8)).tolist()


@given(st.floats(-7e74, 7e74, allow_subnormal=False).filter(lambda v: v == 0 or abs(v) > 1e-77))
def test_every_number_that_the_format_holds_comes_back_exactly(value):
    assert decoded(ibm(value)) == [value]


def test_the_examples_of_the_technical_note():
    assert decoded(bytes.fromhex("4110000000000000")) == [1.0]
    assert decoded(bytes.fromhex("C276A00000000000")) == [-118.625]
    assert decoded(bytes.fromhex("0000000000000000")) == [0.0]


@pytest.mark.parametrize("letter", "._ABZ")
def test_a_missing_value_is_missing_and_no_number(letter):
    assert np.isnan(decoded(letter.encode() + bytes(7)))[0]


def test_a_letter_that_is_an_exponent_is_a_number():
    assert decoded(b"A" + bytes([0x10]) + bytes(6)) == [1.0]  # 0x41 is "A", and the exponent of 1.0


def test_a_file_of_readstat_is_read_as_it_was_written():
    columns = read_xpt(FILES / "readstat.xpt")
    assert columns["SEQN"].tolist() == [62161, 62162, 62163, 62164, 62165]
    assert columns["VALUE"].tolist() == pytest.approx([0.1, -118.625, np.nan, 1e-30, 123456789.125], nan_ok=True)
    assert columns["BIG"].tolist() == pytest.approx([1e70, -1e-70, 0, np.nan, 2**53 - 1], nan_ok=True)
    assert columns["WORD"].tolist() == ["Zoe", "", "a b", "x" * 20, "end"]


def test_a_file_of_the_xport_library_is_read_as_it_was_written():
    expected = [0.0, 1.0, -1.0, 0.15625, 5.4e-79, 1e70, np.nan, 3.141592653589793]
    assert read_xpt(FILES / "xport.xpt")["X"].tolist() == pytest.approx(expected, nan_ok=True)


def record(text):
    return text.encode().ljust(80)


def header(kind, tail="0" * 30):
    return record(f"HEADER RECORD*******{kind:<8}HEADER RECORD!!!!!!!{tail}")


def transport(columns, lengths=None):
    """A transport file of numeric columns; lengths: bytes of each number."""
    lengths = lengths or [8] * len(columns)
    names, position = b"", 0
    for (name, _), length in zip(columns.items(), lengths, strict=True):
        one = (1).to_bytes(2) + bytes(2) + length.to_bytes(2) + bytes(2) + name.encode().ljust(8)
        names += one.ljust(84, b" ") + position.to_bytes(4) + bytes(52)
        position += length
    cells = b"".join(
        (b"." + bytes(7) if value is None else ibm(value))[:length]
        for row in zip(*columns.values(), strict=True)
        for value, length in zip(row, lengths, strict=True)
    )
    parts = [
        header("LIBRARY"), record("SAS"), record(""),
        header("MEMBER", "000000000000000001600000000140"), header("DSCRPTR"), record("SAS"), record(""),
        header("NAMESTR", f"000000{len(columns):04d}" + "0" * 20), names.ljust(-(-len(names) // 80) * 80),
        header("OBS"), cells.ljust(-(-len(cells) // 80) * 80),
    ]  # fmt: skip
    return b"".join(parts)


def test_numbers_that_were_cut_to_fewer_bytes_are_filled_up(tmp_path):
    (tmp_path / "a.xpt").write_bytes(transport({"A": [1.5, None], "B": [-2.0, 0.1]}, [3, 4]))
    columns = read_xpt(tmp_path / "a.xpt")
    assert columns["A"].tolist() == pytest.approx([1.5, np.nan], nan_ok=True)
    assert columns["B"].tolist() == pytest.approx([-2.0, 0.1], abs=1e-7)


@pytest.mark.parametrize("rows", [1, 9, 10, 11, 19, 20, 21])
def test_blanks_after_the_last_row_are_no_rows(tmp_path, rows):
    (tmp_path / "a.xpt").write_bytes(transport({"A": list(range(rows))}))
    assert read_xpt(tmp_path / "a.xpt")["A"].tolist() == list(range(rows))


def test_a_data_set_without_rows_has_columns_without_values(tmp_path):
    (tmp_path / "a.xpt").write_bytes(transport({"A": []}))
    assert read_xpt(tmp_path / "a.xpt")["A"].tolist() == []


WHOLE = transport({"A": [1.0, 2.0], "B": [3.0, 4.0]})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "ends too early"),
        (b"PK" + WHOLE, "its LIBRARY header is missing"),
        (WHOLE.replace(b"LIBRARY ", b"LIBV8   "), "no SAS transport file of version 5"),
        (WHOLE.replace(b"0000000140", b"0000000136"), "in other than 140 bytes"),
        (
            WHOLE.replace(b"NAMESTR HEADER RECORD!!!!!!!0000000002", b"NAMESTR HEADER RECORD!!!!!!!000000 two"),
            "how many",
        ),
        (
            WHOLE.replace(b"NAMESTR HEADER RECORD!!!!!!!0000000002", b"NAMESTR HEADER RECORD!!!!!!!0000000003"),
            "not desc",
        ),
        (WHOLE.replace(b"B       ", b"A       "), "names a variable twice"),
        (WHOLE[:-1], "is cut off"),
        (WHOLE + header("MEMBER"), "more than one data set"),
        (transport({"A": [1.0], "B": [2.0]}, [8, 4])[:-8] + b"x" * 8, "ends within a row"),
    ],
)
def test_what_is_not_exactly_the_format_is_refused_and_never_half_read(tmp_path, data, words):
    (tmp_path / "a.xpt").write_bytes(data)
    with pytest.raises(IncorrectInput, match=words):
        read_xpt(tmp_path / "a.xpt")


@given(st.data())
def test_damage_is_refused_or_read_but_never_crashes(tmp_path_factory, data):
    damaged = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(WHOLE) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.xpt"
    path.write_bytes(damaged[: data.draw(st.integers(0, len(WHOLE)))] if data.draw(st.booleans()) else damaged)
    with contextlib.suppress(IncorrectInput):
        assert all(len(column) <= 80 for column in read_xpt(path).values())


PERSON = {
    "DEMO": {"SEQN": [1.0, 2.0, 3.0, 4.0], "RIAGENDR": [1, 2, 2, 1], "RIDAGEYR": [44, 80, 19, 50],
             "RIDRETH3": [6, 3, 3, 1], "DMDEDUC2": [4, 9, None, 2]},
    "DIQ": {"SEQN": [1.0, 2.0, 3.0, 4.0], "DIQ010": [2, 1, 2, 9]},
    "BMX": {"SEQN": [1.0, 2.0], "BMXBMI": [23.2, None], "BMXWAIST": [80.1, 101.5]},
    "BPX": {"SEQN": [1.0], "BPXDI1": [56]},
    "GLU": {"SEQN": [1.0, 2.0], "LBXGLU": [130, 99]},
    "MCQ": {"SEQN": [1.0, 2.0], "MCQ300C": [1, 9], "MCQ010": [2, 1]},
    "SLQ": {"SEQN": [1.0, 2.0], "SLD010H": [8, 77]},
    "SMQ": {"SEQN": [1.0, 2.0], "SMQ040": [3, 2]},
}  # fmt: skip


def publish(folder, letter="H", files=PERSON):
    for part, columns in files.items():
        (folder / f"{part}_{letter}.XPT").write_bytes(transport(columns))
    return folder


def test_adults_with_a_known_answer_become_rows_of_the_table(tmp_path):
    one, two = nhanes_xpt.rows(publish(tmp_path))
    expected = {
        "seqn": "1", "cycle": "2013-2014", "age": "44", "sex": "male", "race": "nh_asian", "education": "4.0",
        "bmi": "23.2", "waist_cm": "80.1", "diastolic_bp": "56.0", "fasting_glucose_mg_dl": "130.0",
        "family_history_diabetes": "1.0", "asthma": "0.0", "sleep_hours": "8.0", "smokes_now": "0.0",
        "told_diabetes": "no", "diagnosed": "0", "glucose_diabetes": "1.0", "undiagnosed": "1.0",
    }  # fmt: skip
    assert {name: one[name] for name in expected} == expected
    missing = (
        "education",
        "bmi",
        "diastolic_bp",
        "family_history_diabetes",
        "sleep_hours",
        "insured",
        "undiagnosed",
    )
    assert [two[name] for name in missing] == [""] * len(missing)
    assert (two["age"], two["diagnosed"], two["glucose_diabetes"], two["smokes_now"]) == ("80", "1", "0.0", "1.0")


def test_the_rows_go_through_the_loader_of_the_table(tmp_path):
    nhanes_xpt.write_table(publish(tmp_path), tmp_path / nhanes_diabetes.FILE)
    persons = nhanes_diabetes.load(tmp_path)
    assert persons.person == ("1", "2")
    assert persons.diagnosed.tolist() == [False, True]


def test_cycles_lie_side_by_side_and_older_names_are_read(tmp_path):
    publish(tmp_path)
    older = {**PERSON, "DEMO": {**PERSON["DEMO"], "SEQN": [11.0, 12.0, 13.0, 14.0]}}
    older["DEMO"]["RIDRETH1"] = older["DEMO"].pop("RIDRETH3")
    older["DEMO"]["RIDRETH1"] = [5, 3, 3, 1]
    older["DIQ"] = {"SEQN": [11.0, 12.0], "DIQ010": [2, 3]}
    found = nhanes_xpt.rows(publish(tmp_path, "F", older))
    assert [(row["seqn"], row["cycle"], row["race"]) for row in found[:2]] == [
        ("11", "2009-2010", "other"),
        ("12", "2009-2010", "nh_white"),
    ]
    assert len(found) == 4
    assert found[1]["told_diabetes"] == "borderline"


def test_a_folder_of_transport_files_is_recognised(tmp_path):
    publish(tmp_path)
    assert sets_at(tmp_path, {"nhanes_xpt": nhanes_xpt.LAYOUT}) == {"nhanes_xpt": tmp_path}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "no NHANES transport file"),
        ({"DEMO": PERSON["DEMO"]}, "2013-2014 lacks its file DIQ"),
        ({**PERSON, "DIQ": {"SEQN": [1.0], "DIQ050": [1]}}, "lack the variable DIQ010"),
        ({**PERSON, "BMX": {"BMXBMI": [20.0]}}, "BMX_H.XPT has no person number"),
        ({**PERSON, "BMX": {"SEQN": [1.0, 1.0], "BMXBMI": [20, 21]}}, "BMX_H.XPT has a person twice"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(tmp_path, files, words):
    with pytest.raises(IncorrectInput, match=words):
        nhanes_xpt.rows(publish(tmp_path, files=files))
