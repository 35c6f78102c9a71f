"""One file decompressed: the original where the file remembers it."""

from __future__ import annotations

import os
import time

import numpy as np

from ..errors import MRCError
from ..progress import Advance, scaled
from ..reader import MRCReader
from ..targets import open_sink
from .compressing import Copied
from .copying import (
    copy_frames,
    keep_status,
    remove_original,
    require_absent,
    unfinished_file,
    writer_like,
)
from .original import Original, user_metadata
from .slabs import read_slabs

__all__ = ["decompress_file"]


def decompress_file(
    path: str,
    output: str,
    *,
    force: bool,
    delete_original: bool,
    threads: int,
    advance: Advance,
) -> Copied:
    """Decompress one file, and remove it if that is asked for.

    Parameters
    ----------
    path, output : str
        The file, and where its copy goes.
    force, delete_original : bool
        As in `CompressOptions`.
    threads, advance
        As of `compress_file`; `advance` is told the bytes once.

    Raises
    ------
    MRCError, OSError
        If the file is damaged, can't be read or changes meanwhile, or its copy can't be
        written.
    """
    started = time.perf_counter()
    status = os.stat(path)
    with MRCReader(path) as reader:
        original = Original.remembered_by(reader)
        advance = scaled(advance, status.st_size, reader.record.nz * reader.record.frame_bytes)
        require_absent(output, force)
        with unfinished_file(output, path, status, force=force) as unfinished:
            if original is None:
                _write_anew(reader, unfinished, advance, threads)
            else:
                _restore(original, reader, unfinished, advance, threads)
            if delete_original:
                _check_pixels(unfinished, reader, threads)
            keep_status(unfinished, path, status,
                        status.st_mtime_ns if original is None else original.mtime_ns)
    if delete_original:
        remove_original(path, output, status)
    return Copied(path, output, status.st_size, os.path.getsize(output),
                  time.perf_counter() - started, verified=delete_original,
                  how="" if original is None else "the original file",
                  removed=delete_original)


def _restore(
    original: Original, reader: MRCReader, path: str, advance: Advance, threads: int
) -> None:
    """Write the file that was compressed."""
    sink = open_sink(path, fsync=True)
    try:
        position = 0
        for piece in original.pieces(reader, threads=threads):
            sink.write_at(position, piece)
            position += len(piece)
            advance(len(piece))
        sink.commit()
    except BaseException:
        sink.abort()
        raise


def _write_anew(reader: MRCReader, path: str, advance: Advance, threads: int) -> None:
    """Write an uncompressed file of the same pixels, header and metadata."""
    writer = writer_like(reader, path, advance, meta=user_metadata(reader.metadata),
                         n_threads=threads, fsync=True)
    copy_frames(reader, writer, threads=threads)


def _check_pixels(path: str, reader: MRCReader, threads: int) -> None:
    with MRCReader(path) as copy:
        pairs = zip(read_slabs(reader, threads=threads), read_slabs(copy, threads=threads),
                    strict=True)
        for (_, mine), (_, its) in pairs:
            if not np.array_equal(mine.view(np.uint8), its.view(np.uint8)):
                raise MRCError(f"{reader.record.path}: read back, the copy differs; it is "
                               f"thrown away")
