"""Dask arrays to files."""

from __future__ import annotations

import os
from typing import IO, Any

from ..containers import is_dask
from ..ioMRC import writeMRC
from .cluster import require_client

__all__ = ["from_dask"]


def from_dask(
    array: Any,
    path: str | os.PathLike[str] | IO[bytes],
    client: Any = None,
    **options: Any,
) -> None:
    """Write a dask array, each of its chunks computed once and few of them at a time.

    With a client of ``dask.distributed``, the workers compute and compress: compressed
    bytes alone travel to this process, which writes them in order. A worker that dies is
    replaced as dask does it. The workers need this package, not the file system.

    Parameters
    ----------
    array : dask.array.Array
        Of 1 to 4 dimensions, as in `writeMRC`.
    path : str, os.PathLike or binary file
        Where to.
    client : distributed.Client, optional
        Whose workers compress; None: those of the client in use, if there is one.
    **options
        As in `writeMRC`, which does the same with the client in use; ``n_threads`` has
        no meaning on a cluster, where dask decides what runs at a time.

    Raises
    ------
    TypeError
        If `array` is no dask array, or `client` no client.
    OSError, ValueError, TypeError
        As `writeMRC`.

    Examples
    --------
    >>> import io, dask.array, mrcz
    >>> movie = dask.array.zeros((100, 64, 64), dtype="int16", chunks=(10, 64, 64))
    >>> file = io.BytesIO()
    >>> mrcz.from_dask(movie + 1, file, compressor="zstd", pixelsize=1.2)
    >>> _ = file.seek(0)
    >>> mrcz.readMRC(file)[0].shape
    (100, 64, 64)
    """
    if not is_dask(array):
        raise TypeError(f"array must be a dask array, not {type(array).__name__}; "
                        f"writeMRC takes all other kinds")
    if client is None:
        writeMRC(array, path, **options)
        return
    require_client(client)
    with client.as_current():
        writeMRC(array, path, **options)
