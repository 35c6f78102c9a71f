"""What is read is what was written, to the last bit, whatever the options."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mrcz
from mrcz import decoding, encoding

from .checks import assert_identical, bits
from .processes import by_night
from .strategies import BLOSC_CODECS, DTYPES

EXAMPLES = by_night(3000, 150)
SIZES = st.integers(1, 40)


@st.composite
def stacks(draw: st.DrawFn) -> np.ndarray:
    """Three dimensions of any bits at all: NaN payloads, -0.0, denormals, infinities."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = (draw(st.integers(1, 6)), draw(SIZES), draw(SIZES))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(("noise", "few", "zeros", "ramp", "half")))
    count = int(np.prod(shape)) * dtype.itemsize
    raw = random.integers(0, 256, count).astype("u1")
    if kind == "few":
        raw = raw % 3 * np.uint8(127)
    elif kind == "zeros":
        raw[:] = draw(st.sampled_from((0, 0x80, 0xFF)))
    elif kind == "ramp":
        raw = (np.arange(count) % 251).astype("u1")
    elif kind == "half":
        raw[: count // 2] = 0
    return raw.view(dtype).reshape(shape)


@st.composite
def options(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {"endian": draw(st.sampled_from(("le", "be"))),
                             "n_threads": draw(st.integers(1, 4)),
                             "quickStats": draw(st.booleans())}
    codec = draw(st.sampled_from((None, *BLOSC_CODECS)))
    if codec is not None:
        found |= {"compressor": codec, "clevel": draw(st.integers(0, 9)),
                  "shuffle": draw(st.sampled_from(("noshuffle", "shuffle", "bitshuffle"))),
                  "blocksize": draw(st.sampled_from((None, 128, 1000, 4096, 1 << 16))),
                  "checksum": draw(st.booleans())}
    return found


@settings(max_examples=EXAMPLES)
@given(image=stacks(), how=options(), as_list=st.booleans(), threads=st.integers(1, 3),
       pieces=st.booleans(), data=st.data())
def test_every_bit_comes_back(
    image: np.ndarray, how: dict[str, Any], as_list: bool, threads: int, pieces: bool,
    data: st.DataObject,
) -> None:  # fmt: skip
    """Whole, frame by frame, by rows and slices; also where frames are cut into pieces."""
    with pytest.MonkeyPatch.context() as patch:
        if pieces:
            patch.setattr(encoding, "PIECE_BYTES", 1 << 11)
            patch.setattr(decoding, "PIECE_BYTES", 1 << 11)
            encoding._block_bytes.cache_clear()
        try:
            file = io.BytesIO()
            mrcz.writeMRC(list(image) if as_list else image, file, **how)
            file.seek(0)
            found, _ = mrcz.readMRC(file, n_threads=threads)
            assert_identical(found, list(image) if as_list else
                             image[0] if len(image) == 1 else image)
            nz, ny, _ = image.shape
            key = (data.draw(st.integers(-nz, nz - 1)),
                   slice(*sorted(data.draw(st.tuples(*[st.integers(0, ny)] * 2)))),
                   slice(None, None, data.draw(st.sampled_from((1, 2, -1)))))
            file.seek(0)
            with mrcz.open(file, n_threads=threads) as stack:
                assert bits(stack[key]) == bits(image[key])
                assert bits(stack[::2]) == bits(image[::2])
        finally:
            encoding._block_bytes.cache_clear()


@settings(max_examples=EXAMPLES // 3)
@given(first=stacks(), how=options(), data=st.data())
def test_appended_and_overwritten_frames_are_exact_too(
    tmp_path_factory: pytest.TempPathFactory, first: np.ndarray, how: dict[str, Any],
    data: st.DataObject,
) -> None:  # fmt: skip
    path = tmp_path_factory.mktemp("exact") / "a.mrcz"
    mrcz.writeMRC(first, path, **how)
    more = first[::-1][: data.draw(st.integers(1, len(first)))]
    idx = data.draw(st.integers(0, len(first)))
    mrcz.writeMRC(more, path, idx=idx, n_threads=how["n_threads"])
    expected = np.concatenate([first, more])[: max(len(first), idx + len(more))]
    expected[idx : idx + len(more)] = more
    found, _ = mrcz.readMRC(path, slices=0)
    assert bits(found.reshape(expected.shape)) == bits(expected)
    if how.get("checksum"):
        assert mrcz.verify(path) == []


SPECIAL = {
    "f4": np.array([0x7FC00001, 0xFFC00002, 0x7F800001, 0x80000000, 1, 0x7F800000], "u4"),
    "f2": np.array([0x7E01, 0xFE02, 0x7C01, 0x8000, 1, 0x7C00], "u2"),
    "c8": np.array([0x7FC00001, 0x80000000, 0x7F800001, 0xFFC00002, 1, 0xFF800000], "u4"),
}  # fmt: skip


@pytest.mark.parametrize("endian", ["le", "be"])
@pytest.mark.parametrize("compressor", [None, "zstd", "lz4"])
@pytest.mark.parametrize("dtype", SPECIAL)
def test_nan_payloads_and_negative_zero(
    dtype: str, compressor: str | None, endian: str
) -> None:
    image = np.tile(SPECIAL[dtype].view(dtype), (3, 7, 5))
    for quick in (True, False):
        for source in (image, image[:, ::-1], image.astype(image.dtype.newbyteorder(">"))):
            file = io.BytesIO()
            mrcz.writeMRC(source, file, compressor=compressor, endian=endian, quickStats=quick)
            file.seek(0)
            assert bits(mrcz.readMRC(file)[0]) == bits(source)


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_uint4_of_every_width(compressor: str | None) -> None:
    random = np.random.default_rng(0)
    for nx in range(1, 40):
        image = random.integers(0, 16, (3, 5, nx)).astype("u1")
        file = io.BytesIO()
        mrcz.writeMRC(image, file, dtype="uint4", compressor=compressor)
        file.seek(0)
        assert np.array_equal(mrcz.readMRC(file)[0], image)
