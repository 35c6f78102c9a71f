"""Many files compressed at once, on a cluster or by processes of this machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..arguments import integer
from ..copies.compressing import CompressOptions, compress_file, is_compressed
from ..filenames import compressed_name
from ..options import parse_write_options
from ..parallel import MAX_THREADS, threads_of
from ..progress import unseen
from ..reader import MRCReader
from .cluster import require_client
from .processes import call_in_processes, reason_for_none

__all__ = ["FileResult", "compress_many", "compress_on_cluster", "compress_one"]


logger = logging.getLogger("mrcz")


@dataclass(frozen=True)
class FileResult:
    """What became of one file of `mrcz.compress_many`.

    Attributes
    ----------
    path, output : str
        The file, and its compressed copy.
    before, after : int
        Their sizes in bytes; 0 if it failed.
    seconds : float
        How long it took.
    skipped : str
        Why nothing was done, or empty.
    error : Exception or None
        Why it failed, if it did.
    """

    path: str
    output: str
    before: int = 0
    after: int = 0
    seconds: float = 0.0
    skipped: str = ""
    error: BaseException | None = None


def compress_many(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    folder: str | os.PathLike[str] | None = None,
    *,
    client: Any = None,
    processes: int | None = None,
    compressor: str = "auto",
    clevel: int = 1,
    shuffle: str | None = None,
    checksum: bool = True,
    verify: bool = True,
    overwrite: bool = False,
    delete_original: bool = False,
) -> list[FileResult]:
    """Compress MRC files, each as ``mrcz compress`` does, whatever happens to the others.

    Each copy is read back and compared before it takes its name, and remembers what
    ``mrcz decompress`` needs to give the original back, byte for byte. Files that are
    compressed, or whose copy is there, are skipped: call it again after an interruption.

    Parameters
    ----------
    paths : path or iterable of paths
        The files. With a client, paths that its workers see.
    folder : path, optional
        Where the copies go; None: beside the files.
    client : distributed.Client, optional
        Whose workers do it, one file a thread.
    processes : int, optional
        Without a client, processes of this machine; None: one a core. More than one need
        the ``if __name__ == "__main__":`` that `multiprocessing` asks of scripts. Where there
        can be none, in a daemonic process or a script from standard input, threads do it.
    compressor : str
        As in `writeMRC`, ``'auto'`` too.
    clevel : int
        0 to 9.
    shuffle : str, optional
        As in `writeMRC`.
    checksum : bool
        Whether the copies get an index and a checksum a frame.
    verify : bool
        Whether to read each copy back and compare.
    overwrite : bool
        Whether to replace files that are something else than a copy of the original.
    delete_original : bool
        Whether to remove each file once its copy is verified and on the disk.

    Returns
    -------
    list of FileResult
        One a file, in their order; those that failed have an ``error``.

    Raises
    ------
    ValueError, TypeError
        If arguments make no sense, or two files would have the same copy.
    ChildProcessError
        If processes can't begin to work. One that dies later, for want of memory say, is the
        error of its file.

    Examples
    --------
    >>> import mrcz, numpy as np, os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     movies = [os.path.join(folder, f"{n}.mrc") for n in range(3)]
    ...     for movie in movies[:2]:
    ...         mrcz.writeMRC(np.zeros((4, 64, 64), "int16"), movie)
    ...     results = mrcz.compress_many(movies, processes=1, compressor="zstd")
    >>> [result.after < result.before for result in results[:2]], type(results[2].error)
    ([True, True], <class 'FileNotFoundError'>)
    """
    if delete_original and not verify:
        raise ValueError("delete_original=True needs verify=True")
    pairs = _pairs(paths, folder)
    options = CompressOptions(compressor=compressor, level=clevel, shuffle=shuffle,
                              checksum=checksum, verify=verify, force=overwrite,
                              delete_original=delete_original)
    _check(options)
    if client is not None:
        require_client(client)
        done = {result.path: result for result in compress_on_cluster(pairs, options, client)}
        return [done[path] for path, _ in pairs]
    if processes is not None:
        processes = integer("processes", processes, 1, MAX_THREADS, kind="an integer or None")
    count = min(processes or threads_of(None), len(pairs))
    if count > 1 and (reason := reason_for_none()):
        logger.warning("the files are compressed one after the other, each by several threads: "
                       "this process can start no others, for %s", reason)
        count = 1
    work = partial(compress_one, options=options, threads=max(1, threads_of(None) // max(1, count)))
    if count < 2:
        return list(map(work, pairs))
    results = call_in_processes(work, pairs, count)
    return [FileResult(*pair, error=result) if isinstance(result, ChildProcessError) else result
            for pair, result in zip(pairs, results, strict=True)]


def _pairs(paths: Any, folder: Any) -> list[tuple[str, str]]:
    """Return absolute paths of the files and of their copies."""
    if isinstance(paths, (str, bytes, os.PathLike)):
        paths = [paths]
    elif not isinstance(paths, Iterable):
        raise TypeError(f"paths must be a path or an iterable of paths, not {paths!r}")
    pairs: dict[str, str] = {}
    for path in map(os.fsdecode, paths):
        name = path if folder is None else os.path.join(os.fsdecode(folder), os.path.basename(path))
        output = os.path.abspath(compressed_name(name))
        if output in pairs:
            raise ValueError(f"{path} and {pairs[output]} would both become {output}")
        pairs[output] = os.path.abspath(path)
    return [(path, output) for output, path in pairs.items()]


def _check(options: CompressOptions) -> None:
    """Refuse here what every file would fail for."""
    parse_write_options(compressor=options.compressor, clevel=options.level,
                        shuffle=options.shuffle, checksum=options.checksum)


def compress_one(
    pair: tuple[str, str], *, options: CompressOptions, threads: int
) -> FileResult:
    """Compress one file, in whatever process.

    Parameters
    ----------
    pair : (str, str)
        The file, and where its copy goes.
    options : CompressOptions
        How.
    threads : int
        How many take part.

    Returns
    -------
    FileResult
        With an ``error`` if it failed.
    """
    path, output = pair
    try:
        with MRCReader(path) as reader:
            if is_compressed(reader):
                size = reader.source.size
                return FileResult(path, path, size, size, skipped="is compressed already")
        done = compress_file(path, output, options, threads=threads, advance=unseen)
    except Exception as error:
        return FileResult(path, output, error=error)
    return FileResult(path, output, done.before, done.after, done.seconds, done.skipped)


def compress_on_cluster(
    pairs: Sequence[tuple[str, str]], options: CompressOptions, client: Any
) -> Generator[FileResult, None, None]:
    """Compress files by the workers of a cluster.

    If whoever iterates stops, by an interrupt say, no further file is begun.

    Parameters
    ----------
    pairs : sequence of (str, str)
        The files, and where their copies go; absolute.
    options : CompressOptions
        How.
    client : distributed.Client
        Of the cluster.

    Yields
    ------
    FileResult
        Of each, as they are done.
    """
    from distributed import as_completed

    work = partial(compress_one, options=options, threads=1)
    futures = dict(zip(client.map(work, pairs, pure=False), pairs, strict=True))
    try:
        for future in as_completed(futures):
            yield _result_of(future, futures[future])
    except BaseException:
        client.cancel(list(futures))
        raise


def _result_of(future: Any, pair: tuple[str, str]) -> FileResult:
    try:
        result: FileResult = future.result()
    except Exception as error:  # the worker died
        return FileResult(*pair, error=error)
    return result
