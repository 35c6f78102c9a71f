"""What a new file is written to: a place on disk, a device, a server, a file object."""

from __future__ import annotations

import errno
import io
import os
from typing import IO

from .disk import AtomicFile
from .replacing import is_device
from .sinks import FileObjectSink, Sink, StreamFile
from .sources import is_url

__all__ = ["open_sink"]


def open_sink(file: str | os.PathLike[str] | IO[bytes], *, fsync: bool = False) -> Sink:
    """Return the sink for a new file at a path or a URL, or for a binary file object.

    Raises
    ------
    OSError
        If the place can't be written to.
    TypeError
        If `file` is neither a path nor a binary file.
    """
    if not isinstance(file, (str, bytes, os.PathLike)):
        if not hasattr(file, "write"):
            raise TypeError(f"a path or a binary file object is needed, not {type(file).__name__}")
        if isinstance(file, io.TextIOBase):
            raise TypeError("a file object must be opened in binary mode ('wb'), not text mode")
        return FileObjectSink(file)
    path = os.fsdecode(file)
    if not path:  # which has a folder, this one, but could never be given its name
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    if is_url(path):
        return _sink_for_url(path, fsync)
    if is_device(path):
        return StreamFile(open(path, "wb", buffering=0))
    return AtomicFile(path, fsync=fsync)


def _sink_for_url(url: str, fsync: bool) -> Sink:
    from .plugins.remote import RemoteFile, local_path

    path = local_path(url)
    return RemoteFile(url) if path is None else AtomicFile(path, fsync=fsync)
