"""Files on servers and in object stores, by their URLs: what fsspec knows, by parts.

Of a file that is read, no more is fetched than is asked for, in requests of at least
4 KiB. One that is written is made on the local disk and uploaded when it is whole.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from ..disk import AtomicFile
from ..errors import MissingCodecError, MRCError
from ..locks import ForkSafeLock
from ..scratch import Scratch
from ..sinks import Sink
from ..sources import SizedSource

__all__ = ["RemoteFile", "RemoteSource", "local_path", "open_remote"]

_LEAST_BYTES = 1 << 12
_PRECONDITION_FAILED = 412
_KEPT = 16
"""Answers that are kept, of at most `RemoteSource.request_bytes` each."""
_VERSION_KEYS = ("ETag", "etag", "Last-Modified", "LastModified", "last_modified", "mtime",
                 "modified", "created", "version", "generation", "Content-MD5", "Digest",
                 "md5Hash")  # fmt: skip
"""What the file systems call a change of a file."""


def local_path(url: str) -> str | None:
    """Return the path that a ``file://`` URL means; None for all others."""
    files, path = _file_system(url)
    protocols = (files.protocol,) if isinstance(files.protocol, str) else files.protocol
    return path if "file" in protocols else None


def open_remote(url: str) -> RemoteSource:
    """Return the source for a URL.

    Raises
    ------
    OSError
        If it can't be read.
    ValueError
        If fsspec doesn't know the protocol.
    MissingCodecError
        If fsspec, or its package for the protocol, is not installed; an ImportError.
    """
    return RemoteSource(url, *_file_system(url))


def _file_system(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise MissingCodecError(f"{url}: URLs need the package 'fsspec': "
                                f"pip install mrcz[remote]") from error
    try:
        files, path = url_to_fs(url)
    except ImportError as error:
        raise MissingCodecError(f"{url}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{url}: {error}") from error
    except Exception:  # of an archive on a server, into which it has looked already
        with _naming(url):
            raise
    return files, path


@contextmanager
def _naming(url: str) -> Iterator[None]:
    """Let whatever goes wrong be an OSError that names the URL."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "No such file", url) from error
    except PermissionError as error:
        raise PermissionError(errno.EACCES, f"Permission denied ({error})", url) from error
    except (IsADirectoryError, MemoryError):
        raise
    except Exception as error:  # each file system has errors of its own
        if getattr(error, "status", None) == _PRECONDITION_FAILED:
            raise MRCError(f"{url} has changed since it was opened; open it anew") from error
        raise OSError(errno.EIO, f"{type(error).__name__}: {error}", url) from error


class RemoteSource(SizedSource):
    """A file that is read by requests for ranges of its bytes.

    Parameters
    ----------
    url : str
        For messages.
    files : fsspec.AbstractFileSystem
        Where the file is.
    path : str
        Its path there.
    """

    request_bytes = 1 << 16
    window_bytes = 1 << 22

    def __init__(self, url: str, files: Any, path: str) -> None:
        self.name = url
        self._files = files
        self._pid = os.getpid()
        self._path = path
        self._lock = ForkSafeLock()
        self._kept: dict[int, bytes] = {}
        self._whole: Scratch | None = None
        with _naming(url):
            info = files.info(path)
        if info.get("type") == "directory":
            raise IsADirectoryError(errno.EISDIR, "Is a directory", url)
        if info.get("size") is None:
            raise OSError(errno.ESPIPE, "the server doesn't tell how long the file is", url)
        self._size = int(info["size"])
        self.identity = (self._size, *(str(info[key]) for key in _VERSION_KEYS if key in info))
        self._condition = _if_unchanged(files, info)

    def read_into(self, offset: int, view: memoryview) -> None:  # noqa: D102
        wanted = len(view)
        if offset + wanted > self._size:
            raise self._truncated(offset, wanted, max(0, self._size - offset))
        whole = self._whole
        if whole is not None:
            whole.read_into(offset, view)
        elif wanted > self.request_bytes:
            view[:] = self._fetch(offset, wanted)
        else:
            data = self._find(offset, wanted)
            if data is None:
                data = self._fetch(offset, min(max(wanted, _LEAST_BYTES), self._size - offset))
                self._keep(offset, data)
            view[:] = data[:wanted]

    def _find(self, offset: int, wanted: int) -> bytes | None:
        with self._lock():
            for start, data in self._kept.items():
                if start <= offset and offset + wanted <= start + len(data):
                    return data[offset - start :]
        return None

    def _keep(self, offset: int, data: bytes) -> None:
        with self._lock():
            self._kept[offset] = data
            while len(self._kept) > _KEPT:
                del self._kept[next(iter(self._kept))]

    def _fetch(self, offset: int, count: int) -> bytes:
        with _naming(self.name):
            data = self._file_system().cat_file(self._path, start=offset, end=offset + count,
                                                **self._condition)
        if len(data) == self._size > count:  # a server that knows no ranges sends it all
            self._keep_whole(data)
            data = data[offset : offset + count]
        if len(data) != count:
            raise self._truncated(offset, count, len(data))
        return bytes(data)

    def _keep_whole(self, data: bytes) -> None:
        with self._lock():
            if self._whole is None:
                whole = Scratch()
                whole.write(0, data)
                self._whole = whole

    def _file_system(self) -> Any:
        """Return the file system, in a forked process a new one: fsspec's thread stayed behind."""
        if self._pid != os.getpid():
            self._files, _ = _file_system(self.name)
            self._pid = os.getpid()
        return self._files

    def open_stream(self) -> IO[bytes]:
        """Return a file object that reads from the start."""
        with _naming(self.name):
            stream: IO[bytes] = self._file_system().open(self._path, "rb")
            return stream

    def close(self) -> None:  # noqa: D102
        whole, self._whole = self._whole, None
        if whole is not None:
            whole.close()

    def __del__(self) -> None:  # what useMemmap=True returns is never closed by its user
        if hasattr(self, "_whole"):
            self.close()


def _if_unchanged(files: Any, info: dict[str, Any]) -> dict[str, Any]:
    """Return what has a web server refuse to send parts of any file but the one that was opened.

    Other stores are not asked: parts of a file that was replaced meanwhile go unnoticed.
    """
    tag = info.get("ETag", "")
    if "http" not in files.protocol or not tag.startswith('"'):  # a weak one is equal to none
        return {}
    return {"headers": files.kwargs.get("headers", {}) | {"If-Match": tag}}


class RemoteFile(Sink):
    """A new file for a server: made on the local disk, uploaded when it is whole.

    Parameters
    ----------
    url : str
        Final name. A file there is replaced as the store does it.
    """

    def __init__(self, url: str) -> None:
        self.name = url
        self._files, self._path = _file_system(url)
        self._folder = tempfile.TemporaryDirectory(prefix="mrcz-")
        self._local = os.path.join(self._folder.name, "upload")
        self._file = AtomicFile(self._local)

    def write_at(self, offset: int, data: Any) -> None:  # noqa: D102
        self._file.write_at(offset, data)

    def truncate(self, size: int) -> None:  # noqa: D102
        self._file.truncate(size)

    def publish(self) -> None:
        """Upload what was written so far."""
        self._file.publish()
        with _naming(self.name):
            self._files.put_file(self._local, self._path)

    def commit(self) -> None:
        """Upload, and remove the local file."""
        self.publish()
        self.abort()

    def abort(self) -> None:
        """Remove the local file; what was published stays."""
        self._file.abort()
        self._folder.cleanup()
