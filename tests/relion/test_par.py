"""Frealign and cisTEM .par files."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcz.errors import MRCFormatError
from mrcz.ReliablePy import ReliablePy
from mrcz.relion.blocks import MissingColumnError
from mrcz.relion.par import LAYOUTS, read_par, write_par

from .samples import CISTEM, FREALIGN_8, FREALIGN_9, FREALIGN_90

# FORMAT statements of the programs, spelled out: (width, decimals)
FORMATS = {
    "Frealign 9": [7] + 3 * [8] + 2 * [10] + [8, 6, 9, 9, 8, 8, 10, 11, 8, 8],
    "FrealignX": [7] + 3 * [8] + 2 * [10] + [8, 6, 9, 9, 8, 8, 8, 10, 11, 8, 8],
    "Frealign 9.0": [7] + 3 * [8] + 2 * [10] + [8, 6, 9, 9, 8, 8, 13, 8, 8],
    "Frealign 8": [7] + 5 * [8] + [8, 6, 9, 9, 8, 7, 8],
}


def put(tmp_path, text):
    path = tmp_path / "a.par"
    path.write_text(text)
    return path


def test_layouts_are_those_of_the_programs():
    assert {la.name: [f.width for f in la.fields] for la in LAYOUTS} == FORMATS
    assert [la.width for la in LAYOUTS] == [136, 144, 128, 102]


def test_frealign_9(tmp_path, caplog):
    table = read_par(put(tmp_path, FREALIGN_9))
    assert list(table.columns) == [
        "N", "PSI", "THETA", "PHI", "SHX", "SHY", "MAG", "FILM", "DF1", "DF2", "ANGAST", "OCC",
        "LogP", "SIGMA", "SCORE", "CHANGE"]
    assert table.iloc[1].tolist() == [2, -179.99, -100.0, -359.99, -1234.56, 9999.99, 37037, 123,
                                      21000.5, 20800.5, -40.0, 12.5, -12345678, 1.2345, 99.99,
                                      -1.25]
    assert table["FILM"].dtype == table["LogP"].dtype == np.int64
    assert table["PSI"].dtype == np.float64
    assert np.isnan(table["SHX"][2])
    assert "1 values of SHX overflowed" in caplog.text
    assert table.attrs["layout"] == "Frealign 9"
    assert table.attrs["header"][0].startswith("C           PSI")
    assert len(table.attrs["footer"]) == 2


def test_cistem(tmp_path):
    table = read_par(put(tmp_path, CISTEM))
    assert table.attrs["layout"] == "FrealignX"
    assert table["PSHIFT"].tolist() == [90.0, 0.0]
    assert table.iloc[0, 1:4].tolist() == [-170.79, -126.01, -139.8]


@pytest.mark.parametrize("text", [FREALIGN_9, CISTEM], ids=["Frealign 9", "cisTEM"])
def test_round_trip_is_the_same_text(tmp_path, text):
    rln = ReliablePy(put(tmp_path, text))
    rln.savePar(tmp_path / "b.par")
    assert (tmp_path / "b.par").read_text() == text


def test_columns_that_only_white_space_separates(tmp_path):
    """As awk scripts and python-mrcz write them."""
    loose = "".join(" ".join(line.split()) + "\n"
                    for line in FREALIGN_9.replace("-179.99-100.00-359.99", "-179.99 -100 -359.99"
                                                   ).splitlines() if "*" not in line)
    table = read_par(put(tmp_path, loose))
    pd.testing.assert_frame_equal(
        table, read_par(put(tmp_path, FREALIGN_9)).iloc[:2], check_dtype=False)


def test_a_wider_line_among_fixed_ones(tmp_path):
    """A C program widens a column where Fortran prints stars."""
    lines = FREALIGN_9.splitlines()
    wide = lines[1].replace(" 37037     1 ", " 37037 1234567 ")
    assert len(wide) != len(lines[1])
    table = read_par(put(tmp_path, "\n".join([lines[0], lines[1], wide, lines[2]])))
    assert table["FILM"].tolist() == [1, 1234567, 123]
    assert table["PHI"].tolist() == [10.0, 10.0, -359.99]


def test_frealign_8_and_early_9(tmp_path):
    table = read_par(put(tmp_path, FREALIGN_8))
    assert table.attrs["layout"] == "Frealign 8"
    assert table.iloc[0].tolist() == [1, 10, 20, 30, 1, -2, 60000, 1, 10000, 11000, 45, 60, 0.1]
    write_par(tmp_path / "b.par", table)
    assert (tmp_path / "b.par").read_text() == FREALIGN_8
    table = read_par(put(tmp_path, FREALIGN_90))
    assert table.attrs["layout"] == "Frealign 9.0"
    assert table["LogP"].tolist() == [5000]


def test_dos_line_ends(tmp_path, caplog):
    (tmp_path / "dos.par").write_bytes(FREALIGN_9.replace("\n", "\r\n").encode())
    pd.testing.assert_frame_equal(read_par(tmp_path / "dos.par"),
                                  read_par(put(tmp_path, FREALIGN_9)))


@pytest.mark.parametrize(("text", "message"), [
    ("", "no particle"),
    ("C only a comment\n", "no particle"),
    ("1 2 3\n", r"line 1 has no known form \(expected .*16 \(Frealign 9.*found 3 columns"),
    (FREALIGN_9 + "1 2 3\n", "line 7 does not fit Frealign 9 .*expected 16 columns; found 3"),
    (FREALIGN_9.replace("   30.00", "   3x.00", 1), "line 2: PSI is no number .*3x.00"),
    # Each of the 4000 numbers of a column took as much memory as the longest.
    ("1 " * 16 + ("\n" + "1 " * 16) * 3999 + "\n" + "1 " * 15 + "1" * 10_000_000,
     "line 4001: a number of more than 400 characters"),
])
def test_malformed(tmp_path, text, message):
    with pytest.raises(MRCFormatError, match=message):
        read_par(put(tmp_path, text))


@pytest.mark.parametrize(("change", "message"), [
    ({"PSI": 123456.0}, "column PSI, row 0: 123456.00 does not fit 8"),
    ({"FILM": 1234567}, "column FILM, row 0: 1234567 does not fit 6"),
    ({"SHX": np.inf}, "no infinity"),
    ({"FILM": 1.5}, "FILM must be whole"),
])
def test_what_does_not_fit_is_not_written(tmp_path, change, message):
    table = read_par(put(tmp_path, CISTEM)).assign(**change)
    with pytest.raises(ValueError, match=message):
        write_par(tmp_path / "b.par", table)
    assert not (tmp_path / "b.par").exists()


def test_unknown_columns_are_refused(tmp_path):
    with pytest.raises(MissingColumnError, match=r"no \.par layout has the columns N, PSI; known"):
        write_par(tmp_path / "b.par", pd.DataFrame({"N": [1], "PSI": [2.0]}))


@st.composite
def tables(draw):
    layout = draw(st.sampled_from(LAYOUTS))
    rows = draw(st.integers(1, 5))
    columns = {}
    for field in layout.fields:
        decimals = field.decimals or 0
        digits = field.width - decimals - (2 if field.decimals is not None else 1)
        number = st.integers(-(10 ** (digits + decimals)) + 1, 10 ** (digits + decimals) - 1)
        if field.decimals is not None:
            number = number.map(lambda k, d=decimals: k / 10**d) | st.just(float("nan"))
        kind = np.int64 if field.decimals is None else np.float64
        columns[field.name] = np.array(draw(st.lists(number, min_size=rows, max_size=rows)), kind)
    return pd.DataFrame(columns)


@settings(max_examples=200, deadline=None)
@given(tables())
def test_any_table_comes_back(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("par") / "a.par"
    write_par(path, table)
    pd.testing.assert_frame_equal(read_par(path), table, check_exact=True)
