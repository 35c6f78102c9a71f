"""One file compressed, with proof that the copy restores it; for the command and for clusters."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from ..errors import MRCError
from ..progress import Advance, scaled
from ..reader import MRCReader
from .chunks import describe_chunks
from .copying import (
    check_restores,
    copy_frames,
    keep_status,
    remove_original,
    require_absent,
    unfinished_file,
    writer_like,
)
from .original import KEY, Original, user_metadata

__all__ = ["CompressOptions", "Copied", "compress_file", "is_compressed"]


@dataclass(frozen=True)
class CompressOptions:
    """How files are compressed.

    Attributes
    ----------
    compressor, shuffle, checksum
        As in `mrcz.writeMRC`.
    level : int
        Its ``clevel``.
    verify : bool
        Whether to read the copy back and compare it.
    force : bool
        Whether to replace files that exist.
    delete_original : bool
        Whether to remove the file once its copy is verified and on the disk.

    Raises
    ------
    ValueError
        If an original is to be removed unverified.
    """

    compressor: str = "auto"
    level: int = 1
    shuffle: str | None = None
    checksum: bool = True
    verify: bool = True
    force: bool = False
    delete_original: bool = False

    def __post_init__(self) -> None:
        if self.delete_original and not self.verify:
            raise ValueError("to delete originals, their copies must be verified")

    @property
    def passes(self) -> int:
        """How often a file is gone through."""
        return 1 + self.verify


@dataclass(frozen=True)
class Copied:
    """What was done to a file.

    Attributes
    ----------
    file, output : str
        The file, and its copy; None if it needs none.
    before, after : int
        Their sizes in bytes.
    seconds : float
        How long it took.
    how : str
        Codec and filter, or what was restored.
    skipped : str
        Why nothing was done, or empty.
    verified, removed : bool
        Whether the copy was compared, and the file removed.
    """

    file: str
    output: str | None
    before: int
    after: int
    seconds: float = 0.0
    how: str = ""
    skipped: str = ""
    verified: bool = False
    removed: bool = False


def is_compressed(reader: MRCReader) -> bool:
    """Return whether a file is: one of `compress_file` is, even where nothing was to gain."""
    return reader.record.compressor is not None or KEY in reader.metadata


def compress_file(
    path: str, output: str, options: CompressOptions, *, threads: int, advance: Advance
) -> Copied:
    """Compress one file, check the copy, and remove the original if that is asked for.

    Parameters
    ----------
    path, output : str
        The file, and where its copy goes.
    options : CompressOptions
        How.
    threads : int
        How many take part.
    advance : callable
        Told the bytes of the file that are done, once for each of `options.passes`.

    Raises
    ------
    MRCError, OSError
        If the file is damaged, can't be read or changes meanwhile, its copy can't be
        written, or does not restore it.
    """
    started = time.perf_counter()
    status = os.stat(path)
    with MRCReader(path) as reader:
        original = Original.of(reader, status)
        advance = scaled(advance, status.st_size, reader.record.nz * reader.record.frame_bytes)
        done = not options.force and _is_done(output, original)
        if not done:
            require_absent(output, options.force)
            with unfinished_file(output, path, status, force=options.force) as unfinished:
                _write(reader, original, unfinished, options, threads, advance)
                keep_status(unfinished, path, status, status.st_mtime_ns)
        elif options.delete_original:
            check_restores(output, reader, advance, threads=threads)
    if options.delete_original:
        remove_original(path, output, status)
    return Copied(
        path, output, status.st_size, os.path.getsize(output), time.perf_counter() - started,
        how="" if done else _how(output), skipped="is done already" if done else "",
        verified=options.delete_original if done else options.verify,
        removed=options.delete_original,
    )  # fmt: skip


def _write(
    reader: MRCReader,
    original: Original,
    path: str,
    options: CompressOptions,
    threads: int,
    advance: Advance,
) -> None:
    writer = writer_like(
        reader, path, advance, n_threads=threads, fsync=options.delete_original,
        compressor=options.compressor, clevel=options.level, shuffle=options.shuffle,
        checksum=options.checksum,
        meta={**user_metadata(reader.metadata), KEY: original.as_metadata()},
    )  # fmt: skip
    copy_frames(reader, writer, threads=threads)
    if options.verify:
        check_restores(path, reader, advance, threads=threads)


def _is_done(output: str, original: Original) -> bool:
    """Return whether a copy was made from this very file, and is whole."""
    try:
        with MRCReader(output) as copy:
            remembered = Original.remembered_by(copy)
            return copy.table.end <= copy.source.size and remembered == original
    except (OSError, MRCError):
        return False


def _how(output: str) -> str:
    with MRCReader(output) as copy:
        if copy.record.compressor is None:
            return "uncompressed: nothing to gain"
        return f"{copy.record.compressor} {'/'.join(describe_chunks(copy)['filter'])}"
