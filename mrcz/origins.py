"""What a file is read from: a place on disk, a stream, a server, a file object."""

from __future__ import annotations

import io
import os
from functools import partial
from typing import IO, Any

from .sources import FileObjectSource, FileSource, Source, can_seek, is_url
from .streams import StreamSource, stream_opener

__all__ = ["open_source"]

_MAGIC = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ\0": ".xz"}
"""First bytes of a stream, and the suffix of such files."""
_MAGIC_BYTES = max(map(len, _MAGIC))


def open_source(file: str | os.PathLike[str] | IO[bytes]) -> Source:
    """Return the source for a path, a URL or a binary file object.

    Streams of gzip, bzip2 and xz are recognized by their content, not their name.

    Parameters
    ----------
    file : str, os.PathLike or binary file
        What to read.

    Raises
    ------
    OSError
        If it can't be opened.
    MissingCodecError
        If it is a stream that this Python was built without.
    TypeError
        If it is neither a path nor a binary file.
    """
    if not isinstance(file, (str, bytes, os.PathLike)):
        return _from_fileobj(file)
    path = os.fsdecode(file)
    if is_url(path):
        return _from_url(path)
    source = FileSource(path)
    if not source.is_regular:
        return StreamSource(io.open(source.detach(), "rb"), path, ahead=0)  # noqa: UP020
    opener = _opener_of(source)
    if opener is None:
        return source
    source.close()
    stream = StreamSource(opener(path), path, partial(opener, path))
    stream.identity = source.identity
    return stream


def _from_url(url: str) -> Source:
    from .plugins.remote import local_path, open_remote

    path = local_path(url)
    if path is not None:
        return open_source(path)
    source = open_remote(url)
    opener = _opener_of(source)
    if opener is None:
        return source
    def opened() -> IO[bytes]:
        stream: IO[bytes] = opener(source.open_stream())
        return stream

    stream = StreamSource(opened(), url, opened)
    stream.identity = source.identity
    return stream


def _from_fileobj(fileobj: IO[bytes]) -> Source:
    if not hasattr(fileobj, "read"):
        raise TypeError(f"a path or a binary file object is needed, not {type(fileobj).__name__}")
    if isinstance(fileobj, io.TextIOBase):
        raise TypeError("a file object must be opened in binary mode ('rb'), not text mode")
    name = str(getattr(fileobj, "name", f"<{type(fileobj).__name__}>"))
    if not can_seek(fileobj):
        fileobj = io.BytesIO(fileobj.read())
    source = FileObjectSource(fileobj)
    source.name = name
    opener = _opener_of(source)
    if opener is None:
        return source
    fileobj.seek(source.start)
    return StreamSource(opener(fileobj), name)


def _opener_of(source: Source) -> Any:
    head = source.read(0, min(_MAGIC_BYTES, source.size))
    for magic, suffix in _MAGIC.items():
        if head.startswith(magic):
            return stream_opener(suffix, source.name)
    return None
