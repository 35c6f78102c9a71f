"""A file rewritten in another form: streamed, then checked, then given its name."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..errors import MRCError
from ..header import IMAGE_STACK, VOLUME, VOLUME_STACK
from ..importers import header_options
from ..locking import locked
from ..options import parse_write_options
from ..pixels import writable_mode
from ..progress import Advance
from ..reader import MRCReader
from ..replacing import fsync_file, fsync_folder, refuse_device
from ..targets import open_sink
from ..writer import StackWriter
from .original import Original
from .slabs import read_slabs

__all__ = ["check_restores", "copy_frames", "held_as_read", "keep_status", "remove_original",
           "require_absent", "unfinished_file", "writer_like"]  # fmt: skip

logger = logging.getLogger("mrcz")

KNOWN_SPACE_GROUPS = (IMAGE_STACK, VOLUME, VOLUME_STACK)

COMPARED_BYTES = 1 << 22

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a write alone can fail with."""


@contextmanager
def unfinished_file(
    output: str, source: str, status: os.stat_result | None, *, force: bool
) -> Iterator[str]:
    """Give a path to write to, and move it to `output` if all goes well in the block.

    Parameters
    ----------
    output : str
        Final path.
    source : str
        What the output is made from.
    status : os.stat_result or None
        Of the source, before it was read; None if it is remote.
    force : bool
        Whether a file of that name is replaced.

    Raises
    ------
    MRCError
        If the source changed meanwhile.
    FileExistsError
        If a file of that name came meanwhile, and is not to be replaced.
    """
    refuse_device(output)
    folder = os.path.dirname(output)
    if folder:
        os.makedirs(folder, exist_ok=True)
    # A folder of its own: whenever an interrupt comes, whatever is in there is removed.
    workshop = os.path.join(folder, f".{secrets.token_hex(6)}.mrcz-tmp")
    path = os.path.join(workshop, os.path.basename(output))
    try:
        os.mkdir(workshop)
        yield path
        if status is not None and _is_changed(source, status):
            raise MRCError(f"{source}: it was changed while it was read; nothing is written")
        if force or not _is_linked(path, output):
            os.replace(path, output)
    except OSError as error:
        inside = workshop in str(error.filename)
        if inside or (error.filename is None and error.errno in NO_ROOM):
            error.filename = output  # which the user knows
        raise
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _is_changed(path: str, status: os.stat_result) -> bool:
    now = os.stat(path)
    return (now.st_size, now.st_mtime_ns) != (status.st_size, status.st_mtime_ns)


def _is_linked(path: str, output: str) -> bool:
    """Give a file a second name, and return whether it has it: some disks know none.

    Unlike a renaming this replaces nothing, as the copy of another process that came meanwhile.

    Raises
    ------
    FileExistsError
        If another file has the name.
    """
    try:
        os.link(path, output)
    except OSError:
        # That of NFS may be told that it failed when it has been done.
        if os.path.lexists(output) and not os.path.samefile(path, output):
            require_absent(output, force=False)
        return os.path.lexists(output)
    return True


def keep_status(path: str, source: str, status: os.stat_result, mtime_ns: int) -> None:
    """Give a copy the permissions of what it is made from, and a time.

    Parameters
    ----------
    path, source : str
        The copy, and what it is made from.
    status : os.stat_result
        Of the source.
    mtime_ns : int
        When it was changed, in nanoseconds since 1970.
    """
    with contextlib.suppress(OSError):  # a file system without permissions, say
        shutil.copymode(source, path)
    try:
        os.utime(path, ns=(status.st_atime_ns, mtime_ns))
    except OSError as error:  # who may write is not always who owns, as on mounts of servers
        logger.warning("%s: its time of change can't be given to the copy: %s", source,
                       error.strerror)


def writer_like(
    reader: MRCReader, path: str, advance: Advance, **options: Any
) -> StackWriter:
    """Return a writer for a file with the frames and the header of another.

    Parameters
    ----------
    reader : MRCReader
        The other.
    path : str
        Where to.
    advance : callable
        Told the bytes of pixels that are done, some MiB at a time: it may raise to stop.
    **options
        As in `writeMRC`.

    Raises
    ------
    TypeError
        If MRC files of its pixels can't be written (RGB).
    """
    record = reader.record
    if record.mode.channels > 1:
        raise TypeError(f"{record.path}: RGB images can't be compressed: MRCZ has no mode for "
                        f"them; mrcz convert --channel takes one of their colours")
    mode, _ = writable_mode("uint4" if record.mode.packed else reader.dtype)
    parsed = parse_write_options(**{**header_options(record), **options})
    slices, ispg = reader.slices(), record.fields["ispg"]
    if slices:
        ispg = VOLUME_STACK if record.items_are_volumes or slices > 1 else IMAGE_STACK
    return StackWriter(
        open_sink(path, fsync=parsed.fsync), mode, (record.ny, record.nx), parsed,
        slices=slices, ispg=ispg if ispg in KNOWN_SPACE_GROUPS else VOLUME, count=record.nz,
        advance=advance, axes=record.axes,
    )  # fmt: skip


def copy_frames(reader: MRCReader, writer: StackWriter, *, threads: int) -> None:
    """Write all frames of one file to another."""
    with writer:
        for _, frames in read_slabs(reader, threads=threads):
            writer.append_slab(list(frames))


def check_restores(path: str, reader: MRCReader, advance: Advance, *, threads: int) -> None:
    """Check that a compressed file restores the file it was made from, byte for byte.

    Parameters
    ----------
    path : str
        The compressed file.
    reader : MRCReader
        What it was made from.
    advance : callable
        Told the bytes of the original that are compared.
    threads : int
        How many decompress.

    Raises
    ------
    MRCError
        If it doesn't.
    """
    position, source = 0, reader.source
    with MRCReader(path) as copy:
        original = Original.remembered_by(copy)
        if original is None:
            raise MRCError(f"{reader.record.path}: the header did not come back as it was")
        for piece in original.pieces(copy, threads=threads):
            for start in range(0, len(piece), COMPARED_BYTES):
                part = piece[start : start + COMPARED_BYTES]
                if not _equal(source.read(position, len(part)), part):
                    raise MRCError(f"{reader.record.path}: read back, the copy differs after byte "
                                   f"{position}; it is thrown away")
                position += len(part)
            advance(len(piece))
    if position != source.size:
        raise MRCError(f"{reader.record.path}: read back, the copy has {position} bytes instead "
                       f"of {source.size}; it is thrown away")


def _equal(one: Any, other: Any) -> bool:
    """Return whether two buffers of one length hold the same; memoryview compares slowly."""
    return np.array_equal(np.frombuffer(one, np.uint8), np.frombuffer(other, np.uint8))


def remove_original(path: str, copy: str, status: os.stat_result) -> None:
    """Remove a file whose verified copy is on the disk.

    Parameters
    ----------
    path, copy : str
        The file, and its copy.
    status : os.stat_result
        Of the file, before it was read.

    Raises
    ------
    MRCError
        If it is a symbolic link or the copy itself, or was changed since.
    """
    if os.path.islink(path):
        raise MRCError(f"{path}: compressed, but not removed: it is a symbolic link")
    if os.path.samefile(path, copy):
        raise MRCError(f"{path}: not removed: it is the copy itself")
    # Or a power cut could leave neither. An earlier run, which was not to remove it, didn't wait.
    fsync_file(copy)
    fsync_folder(os.path.dirname(copy) or ".")
    with held_as_read(path, status):
        os.unlink(path)


@contextmanager
def held_as_read(path: str, status: os.stat_result) -> Iterator[None]:
    """Hold a file that was read against writers, so that it can lose its name.

    Who is adding frames would not find that they went into a file without one.

    Raises
    ------
    MRCError
        If it was changed since it had this status.
    """
    with locked(path) if os.access(path, os.W_OK) else contextlib.nullcontext():
        if _is_changed(path, status):
            raise MRCError(f"{path}: it was changed after it was read, and stays")
        yield


def require_absent(output: str, force: bool) -> None:
    """Raise FileExistsError if `output` exists, unless the user said --force."""
    if os.path.lexists(output) and not force:
        raise FileExistsError(errno.EEXIST, "exists already; --force replaces it", output)
