"""Files as IMOD, SerialEM, RELION, CCP4 and older programs write them, beyond the plain modes."""

from __future__ import annotations

import numpy as np
import pytest

import mrcz
from mrcz import cli

from . import builders
from .builders import BIG, IMOD_STAMP, LITTLE, fields_of, header, mrc, ramp
from .checks import assert_identical, read

PACKED_FLAG = 16
"""IMOD: "Bytes have two 4-bit values, the first one in the low 4 bits"; NX counts the bytes."""


def packed_bytes(image: np.ndarray, flags: int = PACKED_FLAG) -> bytes:
    nz, ny, nx = image.shape
    record = header((nz, ny, nx // 2), 0, imod_stamp=IMOD_STAMP, imod_flags=flags,
                    cella=(nx // 2 * 1.5, ny * 1.5, nz * 1.5))
    return bytes(record) + builders.pack_uint4(image)


def test_imods_packed_bytes_are_two_pixels_each():
    image = (ramp((3, 5, 8), "u1") % 16).astype("u1")
    found, head = read(packed_bytes(image))
    assert_identical(found, image)
    assert list(head["dimensions"]) == [3, 5, 8]
    assert np.allclose(head["pixelsize"], 1.5)  # IMOD doubles MX and the cell together


def test_imods_packed_bytes_everywhere(tmp_path):
    image = (ramp((3, 5, 8), "u1") % 16).astype("u1")
    path = tmp_path / "a.mrc"
    path.write_bytes(packed_bytes(image))
    with mrcz.open(path) as stack:
        assert_identical(stack[1, 2:4, 1:7:2], image[1, 2:4, 1:7:2])
    assert_identical(mrcz.readMRC(path, idx=2)[0], image[2])
    assert cli.main(["compress", "-q", str(path)]) == 0
    assert_identical(mrcz.readMRC(tmp_path / "a.mrcz")[0], image)
    original = path.read_bytes()
    assert cli.main(["decompress", "-q", "--force", str(tmp_path / "a.mrcz")]) == 0
    assert path.read_bytes() == original


@pytest.mark.parametrize("flags", [PACKED_FLAG | builders.IMOD_SIGNED_BYTES, PACKED_FLAG])
def test_imods_packed_bytes_need_the_stamp_and_no_sign(flags):
    image = ramp((2, 3, 4), "i1")
    stamp = IMOD_STAMP if flags & builders.IMOD_SIGNED_BYTES else 5
    assert_identical(read(mrc(image, imod_stamp=stamp, imod_flags=flags))[0], image)


@pytest.mark.parametrize("flags", [PACKED_FLAG, PACKED_FLAG | 8])
def test_a_new_header_leaves_packed_bytes_packed(flags, tmp_path):
    image = (ramp((3, 5, 8), "u1") % 16).astype("u1")
    path = tmp_path / "a.mrc"
    path.write_bytes(packed_bytes(image, flags))
    header, slices = mrcz.readMRCHeader(path)
    with path.open("r+b") as file:
        mrcz.writeMRCHeader(file, header | {"voltage": 200.0}, slices)
        with pytest.raises(ValueError, match="even"):
            mrcz.writeMRCHeader(file, header | {"dimensions": (3, 5, 7)}, slices)
    found, header = mrcz.readMRC(path)
    assert_identical(found, image)
    assert header["voltage"] == 200.0
    assert np.allclose(header["pixelsize"], 1.5)
    assert fields_of(path.read_bytes())["imod_flags"] == flags


FRAME = b"SerialEMCCD: Dose frac. image, scaled by 1.00  r/f 3  4 bits packed"


@pytest.mark.parametrize("ny,nx,fields,columns", [
    (7420, 3838, {}, 2), (7676, 3710, {}, 2), (8184, 5760, {}, 2), (11520, 4091, {}, 2),
    (7420, 3838, {"imod_stamp": IMOD_STAMP}, 2),
    (7420, 3838, {"imod_stamp": IMOD_STAMP, "imod_flags": 1}, 1),
    (7420, 3838, {"nlabl": 2}, 1), (7420, 3838, {"label": b"4 bits"}, 1), (7420, 3828, {}, 1)])
def test_packed_frames_of_super_resolution_without_the_flag(ny, nx, fields, columns, tmp_path):
    path = tmp_path / "a.mrc"
    with path.open("wb") as file:
        file.write(header((2, ny, nx), 0, **{"nlabl": 1, "label": FRAME, **fields}))
        file.write(b"\x21\x43")
        file.truncate(1024 + 2 * ny * nx)
    with mrcz.open(path) as stack:
        assert stack.shape == (2, ny, columns * nx)
        if columns == 2:
            assert stack[0, 0, :5].tolist() == [1, 2, 3, 4, 0]
    record, slices = mrcz.readMRCHeader(path)
    with path.open("r+b") as file:
        mrcz.writeMRCHeader(file, record, slices)  # without that label
    assert mrcz.readMRCHeader(path)[0]["dimensions"].tolist() == [2, ny, columns * nx]


@pytest.mark.parametrize("mode,dtype", builders.MODES.items())
@pytest.mark.parametrize("order,stamp", [("<", BIG), (">", LITTLE), ("<", b"\0" * 4),
                                         (">", b"\0" * 4), ("<", b"\xff\0\x12\x34")])
def test_a_wrong_machine_stamp(mode, dtype, order, stamp):
    """Also in mode 0, which is the same in both orders: the dimensions tell."""
    image = ramp((3, 4, 6), dtype)
    assert_identical(read(mrc(image, order=order, mode=mode, stamp=stamp))[0], image)


def test_what_others_keep_in_mrczs_words_is_no_length(tmp_path):
    """IMOD and Priism have a smallest and a largest value at 144."""
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc(ramp((2, 3, 4), "i2"), packed_bytes=-(2**62) - 5))
    header, slices = mrcz.readMRCHeader(path)
    assert header["packedBytes"] == 0
    with path.open("r+b") as file:
        mrcz.writeMRCHeader(file, header | {"voltage": 200.0}, slices)
    image, header = mrcz.readMRC(path)
    assert_identical(image, ramp((2, 3, 4), "i2"))
    assert header["voltage"] == 200.0


def test_a_raw_file_that_is_cut_says_what_can_be_saved(tmp_path):
    image = ramp((5, 4, 6), "i2")
    path = tmp_path / "cut.mrc"
    path.write_bytes(mrc(image)[:-60])
    for idx in (None, 3, 4):
        with pytest.raises(mrcz.MRCTruncatedError, match="3 of 5 frames are whole"):
            mrcz.readMRC(path, idx=idx)
    assert_identical(mrcz.readMRC(path, idx=(0, 3))[0], image[:3])
    assert mrcz.repair(path, tmp_path / "saved.mrc").recovered == [0, 1, 2]
    assert_identical(mrcz.readMRC(tmp_path / "saved.mrc", idx=(0, 3))[0], image[:3])


# ---- what `mrcz convert` and `compress` make of stacks and maps of other programs

OTHERS = {
    "RELION's stack": ((3, 4, 6), {"ispg": 0, "m": (6, 4, 1), "cella": (9.0, 6.0, 1.5)}),
    "a crystal's map": ((3, 4, 6), {"ispg": 19, "cella": (9.0, 6.0, 4.5)}),
    "a stack of volumes": ((6, 4, 6), {"ispg": 401, "m": (6, 4, 3), "cella": (9.0, 6.0, 4.5)}),
    "one image": ((1, 4, 6), {"ispg": 0, "cella": (9.0, 6.0, 1.5)}),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("command", ["convert", "convert-raw", "compress"])
def test_arrays_stay_arrays(name, command, tmp_path):
    shape, fields = OTHERS[name]
    image = ramp(shape, "f4")
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc(image, **fields))
    before, _ = mrcz.readMRC(path)
    copy = tmp_path / ("b.mrc" if command == "convert-raw" else "a.mrcz")
    arguments = ["compress", str(path)] if command == "compress" else ["convert", str(path),
                                                                       str(copy)]
    assert cli.main([arguments[0], "-q", *arguments[1:]]) == 0
    after, head = mrcz.readMRC(copy)
    assert isinstance(after, np.ndarray)
    assert_identical(after, before)
    assert np.allclose(head["pixelsize"], 1.5)


@pytest.mark.parametrize("name", OTHERS)
def test_uncompressed_copies_keep_what_a_section_is(name, tmp_path):
    shape, fields = OTHERS[name]
    path, copy = tmp_path / "a.mrc", tmp_path / "b.mrc"
    path.write_bytes(mrc(ramp(shape, "f4"), **fields))
    assert cli.main(["convert", "-q", str(path), str(copy)]) == 0
    old, new = fields_of(path.read_bytes()), fields_of(copy.read_bytes())
    assert [new[key] for key in ("ispg", "m", "cella")] == [old[key] for key in
                                                            ("ispg", "m", "cella")]


@pytest.mark.parametrize("fields", [{"origin": (1.0, float("nan"), 3.0)},
                                    {"origin": (1e-38, 2.0, 3.0), "map": b"\0\0\x40\x41"}])
def test_an_origin_that_is_none_is_not_carried_over(fields, tmp_path):
    (tmp_path / "a.mrc").write_bytes(mrc(ramp((3, 4, 6), "f4"), **fields))
    assert cli.main(["convert", "-q", str(tmp_path / "a.mrc"), str(tmp_path / "b.mrc")]) == 0
    assert fields_of((tmp_path / "b.mrc").read_bytes())["origin"] == (0.0, 0.0, 0.0)


def test_no_origin_stays_none_where_a_part_is_taken(tmp_path):
    (tmp_path / "a.mrc").write_bytes(mrc(ramp((3, 4, 6), "f4")))
    assert cli.main(["convert", "-q", "--slice", "1:", str(tmp_path / "a.mrc"),
                     str(tmp_path / "b.mrc")]) == 0
    assert fields_of((tmp_path / "b.mrc").read_bytes())["origin"] == (0.0, 0.0, 0.0)


def test_lists_are_told_by_their_label_alone_when_uncompressed(tmp_path):
    """MRC2014 has stacks, but no lists: our array, made a stack by another program, is none."""
    path = tmp_path / "a.mrc"
    mrcz.writeMRC(ramp((3, 4, 6), "f4"), path)
    data = bytearray(path.read_bytes())
    data[88:92], data[36:40] = bytes(4), (1).to_bytes(4, "little")
    assert isinstance(read(bytes(data))[0], np.ndarray)
    mrcz.writeMRC(list(ramp((3, 4, 6), "f4")), path)
    assert isinstance(mrcz.readMRC(path)[0], list)


@pytest.mark.parametrize("label", [b"MRCZ0.4.1", b"MRCZ0.5.10", b"MRCZ0.6.0"])
def test_imod_copies_the_labels_of_python_mrczs_files(label, notices):
    """And writes what they don't tell of: MZ is a count of slices there, and here the cell's."""
    image = ramp((6, 4, 8), "f4")
    data = mrc(image, label=label, nlabl=2, ispg=0, m=(16, 8, 3), cella=(24.0, 12.0, 6.0),
               imod_stamp=IMOD_STAMP, imod_flags=4)
    with notices() as said:
        found, head = read(data)
    assert_identical(found, image)
    assert np.allclose(head["pixelsize"], [2.0, 1.5, 1.5])
    assert not said


@pytest.mark.parametrize("start,kind", [
    (b"\0\0\0\x04" + bytes(6) + b"\x10\0\0\0\0\x01", "DM4"), (b"II*\0\x08", "TIFF"),
    (b"\x93NUMPY\x01", "NumPy"), (b"\x89HDF\r\n\x1a\n", "HDF5"), (b"PK\x03\x04", "ZIP"),
    (b"<!DOCTYPE html>", "web page"), (b"\x28\xb5\x2f\xfd", "zstd"),
])
def test_what_is_no_mrc_file_is_named(start, kind, tmp_path):
    path = tmp_path / "download.mrc"
    for data in (start.ljust(5000, b"\0"), start.ljust(40, b" ")):
        path.write_bytes(data)
        for call in (mrcz.readMRC, mrcz.readMRCHeader, mrcz.open):
            with pytest.raises(mrcz.MRCFormatError, match=kind):
                call(path)


def test_an_mrc_file_that_begins_like_another_is_read():
    image = ramp((1, 2, 0x2A4949), "i1")  # NX is TIFF's first bytes
    data = mrc(image)
    assert data.startswith(b"II*\0")
    assert_identical(read(data)[0], image[0])


@pytest.mark.parametrize("cella", [(1e38, 1e38, 1e38), (float("nan"), float("inf"), -8.0),
                                   (0.0, 0.0, 0.0)])
def test_senseless_cells_are_no_hindrance(cella, tmp_path):
    image = ramp((3, 4, 6), "i2")
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc(image, cella=cella, m=(1, 1, 1)))
    original = path.read_bytes()
    for command in (["compress", path], ["convert", path, tmp_path / "b.mrc"],
                    ["decompress", "--force", tmp_path / "a.mrcz"]):
        assert cli.main([command[0], "-q", *map(str, command[1:])]) == 0
    assert path.read_bytes() == original
    for name in ("a.mrcz", "b.mrc"):
        assert_identical(mrcz.readMRC(tmp_path / name)[0], image)


# ---- records that promise an extended header which the file doesn't have

IMAGE = ramp((3, 4, 6), "f4")


@pytest.fixture(params=[(b"AGAR", "<", 16), (b"SERI", "<", 288), (b"", ">", 100)], ids=str)
def headless(request, tmp_path):
    """cryoCARE (issue 43) and others copy the record of their input, and not what is behind it."""
    exttyp, order, length = request.param
    data = mrc(IMAGE, order=order, extended=bytes(length), exttyp=exttyp)
    path = tmp_path / "a.mrc"
    path.write_bytes(data[:1024] + data[1024 + length:])
    return path


def test_an_extended_header_that_is_not_there(headless, notices):
    with notices() as said:
        found, header = mrcz.readMRC(headless)
    assert_identical(found, IMAGE)
    assert header["extendedBytes"] == 0
    assert any("NSYMBT" in text for text in said)
    assert_identical(mrcz.readMRC(headless, idx=1)[0], IMAGE[1])
    assert_identical(np.array(mrcz.readMRC(headless, useMemmap=True)[0]), IMAGE)
    with mrcz.open(headless) as stack:
        assert_identical(stack[2, 1:3], IMAGE[2, 1:3])


def test_a_copy_without_the_extended_header_restores_to_the_byte(headless):
    data = headless.read_bytes()
    assert cli.main(["compress", "-q", str(headless)]) == 0
    assert_identical(mrcz.readMRC(headless.with_suffix(".mrcz"))[0], IMAGE)
    headless.unlink()
    assert cli.main(["decompress", "-q", str(headless.with_suffix(".mrcz"))]) == 0
    assert headless.read_bytes() == data


def test_repair_mends_the_record(headless, tmp_path):
    assert [finding.offset for finding in mrcz.verify(headless)] == [92]
    with pytest.raises(mrcz.MRCFormatError, match="repair"):
        mrcz.writeMRC(IMAGE, headless, idx=3)
    assert mrcz.repair(headless, tmp_path / "b.mrc").recovered == [0, 1, 2]
    assert not mrcz.verify(tmp_path / "b.mrc")
    mrcz.writeMRC(IMAGE, tmp_path / "b.mrc", idx=3)
    assert_identical(mrcz.readMRC(tmp_path / "b.mrc")[0], np.concatenate([IMAGE, IMAGE]))


def test_a_new_header_tells_of_no_extended_one(headless):
    header, slices = mrcz.readMRCHeader(headless)
    with headless.open("r+b") as file:
        mrcz.writeMRCHeader(file, header, slices, endchar=header.record.byteorder)
    assert not mrcz.verify(headless)
    assert_identical(mrcz.readMRC(headless)[0], IMAGE)


@pytest.mark.parametrize("cut", [15, 17, 24])
def test_other_lengths_are_of_files_that_are_cut(cut, tmp_path):
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc(IMAGE, extended=bytes(16), exttyp=b"AGAR")[:-cut])
    with pytest.raises(mrcz.MRCTruncatedError):
        mrcz.readMRC(path)


def test_files_of_this_format_are_cut(tmp_path):
    path = tmp_path / "a.mrc"
    mrcz.writeMRC(IMAGE, path, meta={"a": 1})
    length = mrcz.readMRCHeader(path)[0]["extendedBytes"]
    path.write_bytes(path.read_bytes()[:-length])
    with pytest.raises(mrcz.MRCTruncatedError):
        mrcz.readMRC(path)


@pytest.mark.parametrize("label", [b"MRCZ1.0.0", b"MRCZ0.6.0"])
def test_a_copy_of_the_record_without_metadata(label, notices, tmp_path):
    """Of a file of this format, too, other programs copy the record alone."""
    path = tmp_path / "a.mrc"
    data = mrc(IMAGE, extended=b'{"a":1} ', exttyp=b"json", label=label, nlabl=1)
    path.write_bytes(data[:1024] + data[1032:])
    with notices() as said:
        assert_identical(mrcz.readMRC(path, slices=0)[0], IMAGE)
    assert any("NSYMBT" in text for text in said)
    assert mrcz.repair(path, tmp_path / "b.mrc").recovered == [0, 1, 2]
    assert_identical(mrcz.readMRC(tmp_path / "b.mrc", slices=0)[0], IMAGE)
    path.write_bytes(data[:-8])  # this one is cut
    with pytest.raises(mrcz.MRCTruncatedError):
        mrcz.readMRC(path)
