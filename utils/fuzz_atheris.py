"""Coverage-guided fuzzing of a parser with atheris (``pip install atheris``, CPython 3.11 to 3.13).

``python utils/fuzz_atheris.py header -max_total_time=600``: the first word names the parser,
the rest goes to libFuzzer. Raises, and so stops, at the first exception that is not ours.
"""

import contextlib
import io
import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

with atheris.instrument_imports(include=["mrcz"]):
    import numpy as np

    import mrcz
    from mrcz import (  # noqa: F401
        blocks,
        buffers,
        codec,
        decoding,
        dm,
        frames,
        header,
        integrity,
        ioDM4,
        metadata,
        reader,
        salvage,
        trailer,
    )

ALLOWED = (mrcz.MRCError, OSError)
FRAME_BYTES = 2640
OUT = np.empty(FRAME_BYTES, np.uint8)


def fuzz_header(data: bytes) -> None:
    """The record, the extended header and the metadata behind it."""
    with contextlib.suppress(*ALLOWED), mrcz.open(io.BytesIO(data)) as stack:
        repr(stack.header)
        repr(stack.slices)
        if stack.nbytes < 1 << 22:
            np.asarray(stack)


def fuzz_chunk(data: bytes) -> None:
    """A frame of 2640 bytes: its header, its block table, its blocks, whole and in runs."""
    if len(data) < codec.CHUNK_HEADER_BYTES:
        return
    facts = {"path": "fuzzed", "offset": 0, "frame": 0}
    with contextlib.suppress(*ALLOWED):
        found = codec.parse_chunk_header(data, 0, nbytes=FRAME_BYTES, room=len(data), **facts)
        chunk = memoryview(data)[: found.cbytes]
        with contextlib.suppress(*ALLOWED):
            codec.decompress(chunk, found, buffers.address_of(OUT), **facts)
        if found.is_memcpy or not found.is_blosc1:
            return
        table = blocks.parse_block_table(found, data[: found.prefix_bytes], **facts)
        for first in range(min(found.block_count, 8)):
            for last in {first + 1, found.block_count}:
                with contextlib.suppress(*ALLOWED):
                    cut = blocks.cut_chunk(found, table, first, last)
                    parts = b"".join(data[start:stop] for start, stop in cut.ranges)
                    small = memoryview(cut.prefix + parts)
                    codec.decompress(small, cut.header, buffers.address_of(OUT), **facts)
                    planes = blocks.Planes.of(cut.header) if last == first + 1 else None
                    if planes is not None:
                        bare = blocks.without_filter(cut)
                        small = memoryview(bare.prefix + parts)
                        codec.decompress(small, bare.header, buffers.address_of(OUT), **facts)
                        part = planes.part(OUT, 0, min(100, planes.nbytes))
                        piece = np.empty(part.header.cbytes, np.uint8)
                        part.gather(piece)
                        codec.decompress(piece.data, part.header, buffers.address_of(OUT), **facts)


FOLDER = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)


def fuzz_dm(data: bytes) -> None:
    """Tags and images of a DM3 or DM4 file, strictly and permissively."""
    path = os.path.join(FOLDER, "fuzzed.dm4")
    with open(path, "wb") as file:
        file.write(data)
    for permissive in (False, True):
        with contextlib.suppress(*ALLOWED):
            dm = mrcz.readDM4(path, permissive=permissive)
            for image in dm.im:
                with contextlib.suppress(*ALLOWED):
                    image.read()


def seeds(target: str) -> str:
    """A folder of good inputs to start from."""
    from tests import fuzzing

    folder = Path(tempfile.mkdtemp(dir=FOLDER))
    bases = fuzzing.dm_bases() if target == "dm" else fuzzing.mrc_bases()
    for number, base in enumerate(bases):
        data = base.data
        if target == "chunk":
            with contextlib.suppress(*ALLOWED), mrcz.open(io.BytesIO(data)) as stack:
                start, stop = stack._reader.table.span(0)
                data = data[start:stop]
        (folder / str(number)).write_bytes(data)
    return str(folder)


TARGETS = {"header": fuzz_header, "chunk": fuzz_chunk, "dm": fuzz_dm}


def main() -> None:
    """Fuzz until libFuzzer is told to stop, or finds something."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        raise SystemExit(f"usage: {sys.argv[0]} {'|'.join(TARGETS)} [libFuzzer's options]")
    target = sys.argv[1]
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    atheris.Setup([sys.argv[0], "-max_len=20000", "-rss_limit_mb=3000", "-timeout=60",
                   *sys.argv[2:], seeds(target)], TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
