"""A new file in an old one's place: its access rights, its name."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading

__all__ = ["fsync_file", "fsync_folder", "is_device", "is_same_file", "keep_access",
           "refuse_device", "replace_file", "writable_status"]  # fmt: skip

_WORTH_A_THREAD = 32 << 20
"""Bytes of an old file; freeing 256 MiB of one in memory took 38 ms, a quarter of writing them."""

_NO_SUCH_WAIT = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.ENOTTY)
"""What servers' folders (SMB, sshfs, FUSE) refuse to be synced with; files of theirs are synced."""


def replace_file(source: str, target: str) -> None:
    """Rename `source` to `target` as `os.replace` does, in one step.

    A large file that had the name is held open meanwhile, so that the system frees its
    blocks not in the renaming but when a thread closes it, while the caller goes on.

    Raises
    ------
    OSError
        If it can't be renamed.
    """
    old = _held(target)
    try:
        os.replace(source, target)
    finally:
        if old is not None:
            _close_in_background(old)


def _held(path: str) -> int | None:
    """Return a descriptor of the file, if that is worth it and possible."""
    if os.name != "posix":
        return None
    try:
        if os.stat(path).st_size < _WORTH_A_THREAD:
            return None
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None


def _close_in_background(fd: int) -> None:
    try:
        threading.Thread(target=os.close, args=(fd,), name="mrcz-free", daemon=True).start()
    except RuntimeError:  # no more threads, or the interpreter is on its way out
        os.close(fd)


def writable_status(path: str) -> os.stat_result | None:
    """Return the status of a file to be replaced, which must be one we could overwrite."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "Is a directory", path)
    refuse_device(path)
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "Permission denied", path)
    return status


def refuse_device(path: str) -> None:
    """Raise if there is a device, pipe or socket, which a file must not take the place of.

    All programs would find a file there from then on: root can do that to ``/dev/null``.

    Raises
    ------
    OSError
        If there is one.
    """
    if is_device(path):
        raise OSError(errno.ESPIPE, "A device, pipe or socket is not replaced by a file", path)


def is_same_file(path: str | bytes, other: str | bytes) -> bool:
    """Return whether two names mean one file that exists."""
    return os.path.exists(path) and os.path.exists(other) and os.path.samefile(path, other)


def is_device(path: str) -> bool:
    """Return whether a path is that of a device, pipe or socket."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def keep_access(fd: int, path: str, old: os.stat_result) -> None:
    """Give a new file owner, permissions and attributes of the one at `path`, as far as we may.

    Attributes are where the system has access lists, and users their notes.
    """
    if not hasattr(os, "fchmod"):
        return
    new = os.fstat(fd)
    is_ours = (new.st_uid, new.st_gid) == (old.st_uid, old.st_gid)
    if not is_ours:
        with contextlib.suppress(OSError):
            os.fchown(fd, old.st_uid, old.st_gid)
    if not is_ours or new.st_mode != old.st_mode:
        with contextlib.suppress(OSError):
            os.fchmod(fd, stat.S_IMODE(old.st_mode))
    if not hasattr(os, "listxattr"):
        return
    with contextlib.suppress(OSError):
        for name in os.listxattr(path):
            with contextlib.suppress(OSError):
                os.setxattr(fd, name, os.getxattr(path, name))


def fsync_folder(folder: str) -> None:
    """Wait until the names in a folder are on the disk, where the file system knows such a wait."""
    if os.name == "nt":
        return
    try:
        _fsync(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno not in _NO_SUCH_WAIT:
            raise


def fsync_file(path: str) -> None:
    """Wait until a file is on the disk, whoever wrote it, and however long ago."""
    _fsync(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)


def _fsync(path: str, flags: int) -> None:
    fd = os.open(path, flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
