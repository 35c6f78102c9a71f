"""The bytes that c-mrcz 0.1.3 relies on in a file, since it is in no registry to be run.

It takes dimensions and MODE from the record, skips NSYMBT bytes, and then decompresses
NZ blosc chunks, each as long as its header says, ignoring what follows them.
"""

from __future__ import annotations

import struct
from pathlib import Path

import blosc
import numpy as np
import pytest

import mrcz

STACK = np.random.default_rng(1).poisson(5, (4, 70, 90))


@pytest.mark.parametrize("dtype, mode", [("i1", 0), ("i2", 1), ("f4", 2), ("c8", 4), ("u2", 6)])
@pytest.mark.parametrize("compressor, number", [("blosclz", 1), ("lz4", 2), ("lz4hc", 3),
                                                ("zlib", 5), ("zstd", 6)])  # fmt: skip
@pytest.mark.parametrize("shuffle", ["noshuffle", "shuffle", "bitshuffle"])
def test_what_c_mrcz_reads(
    tmp_path: Path, dtype: str, mode: int, compressor: str, number: int, shuffle: str
) -> None:
    stack = STACK.astype(dtype)
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(stack, path, compressor=compressor, shuffle=shuffle, checksum=True,
                  meta={"some": "metadata"}, pixelsize=[3.0, 2.0, 1.0])  # fmt: skip
    raw = path.read_bytes()
    assert struct.unpack_from("<4i", raw) == (90, 70, 4, mode + 1000 * number)
    assert struct.unpack_from("<3f", raw, 40) == (90.0, 140.0, 12.0)
    assert raw[212:214] == b"DD"
    position = 1024 + struct.unpack_from("<i", raw, 92)[0]
    for frame in stack:
        version, _, flags, typesize, nbytes, _, cbytes = struct.unpack_from("<4B3i", raw, position)
        assert version == 2
        assert typesize == stack.itemsize
        assert nbytes == frame.nbytes
        assert flags & 5 in (0, {"shuffle": 1, "bitshuffle": 4}.get(shuffle, 0))
        assert blosc.decompress(raw[position : position + cbytes]) == frame.tobytes()
        position += cbytes
    assert raw[position : position + 8] == b"MRCZTRLR"
