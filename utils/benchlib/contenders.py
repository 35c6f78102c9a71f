"""The contenders: how each writes a stack, reads it, and reads one frame of it.

Each is as its manual shows it, with chunks of one frame where there are chunks, bit
shuffling where there is a filter, and `threads` threads where it can be told so.
"""

# ruff: noqa: D102  (what the methods do is said once, by the protocol)
from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .catalog import LEVELS

Pixels = npt.NDArray[Any]


class Contender(Protocol):
    """What a worker does; a path is always a new one when it is written to."""

    def write(self, pixels: Pixels, path: str) -> None:
        """Write (nz, ny, nx) pixels."""

    def read(self, path: str) -> Pixels:
        """Return them all."""

    def frame(self, path: str, index: int) -> Pixels:
        """Open the file and return one frame."""


class Mrcz:
    """The package of this checkout."""

    def __init__(self, codec: str, threads: int) -> None:
        self.mrcz = importlib.import_module("mrcz")
        self.threads = threads
        self.options: dict[str, Any] = {} if codec == "raw" else {"compressor": codec}
        if codec in LEVELS:
            self.options["clevel"] = LEVELS[codec]

    def write(self, pixels: Pixels, path: str) -> None:
        self.mrcz.writeMRC(pixels, path, n_threads=self.threads, **self.options)

    def read(self, path: str) -> Pixels:
        return self.mrcz.readMRC(path, n_threads=self.threads)[0]

    def frame(self, path: str, index: int) -> Pixels:
        return self.mrcz.readMRC(path, idx=index, n_threads=self.threads)[0]

    def rows(self, path: str, index: int, first: int, last: int) -> Pixels:
        """Open the file and return some rows of one frame."""
        with self.mrcz.open(path, n_threads=self.threads) as stack:
            return stack[index, first:last]


class PythonMrcz(Mrcz):
    """The incumbent, which reads all of a compressed file to give one frame."""

    def frame(self, path: str, index: int) -> Pixels:
        if self.options:
            return self.read(path)[index]
        return self.mrcz.readMRC(path, idx=index)[0]


class NumpySave:
    """np.save, np.load."""

    def write(self, pixels: Pixels, path: str) -> None:
        with open(path, "wb") as file:
            np.save(file, pixels)

    def read(self, path: str) -> Pixels:
        return np.load(path)

    def frame(self, path: str, index: int) -> Pixels:
        return np.array(np.load(path, mmap_mode="r")[index])


class NumpyToFile:
    """ndarray.tofile, np.fromfile: the bytes and nothing else."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.dtype = np.dtype("u1")

    def know(self, pixels: Pixels) -> None:
        """Learn what the file does not hold."""
        self.shape, self.dtype = pixels.shape, pixels.dtype

    def write(self, pixels: Pixels, path: str) -> None:
        pixels.tofile(path)

    def read(self, path: str) -> Pixels:
        return np.fromfile(path, self.dtype).reshape(self.shape)

    def frame(self, path: str, index: int) -> Pixels:
        count = self.shape[1] * self.shape[2]
        offset = index * count * self.dtype.itemsize
        return np.fromfile(path, self.dtype, count, offset=offset).reshape(self.shape[1:])


class MrcFile:
    """mrcfile, uncompressed."""

    def __init__(self) -> None:
        self.mrcfile = importlib.import_module("mrcfile")

    def write(self, pixels: Pixels, path: str) -> None:
        with self.mrcfile.new(path) as file:
            file.set_data(pixels)

    def read(self, path: str) -> Pixels:
        return self.mrcfile.read(path)

    def frame(self, path: str, index: int) -> Pixels:
        with self.mrcfile.mmap(path) as file:
            return np.array(file.data[index])


class Blosc2:
    """A blosc2 NDArray, one contiguous file."""

    def __init__(self, codec: str, threads: int) -> None:
        self.blosc2 = blosc2 = importlib.import_module("blosc2")
        names = {"zstd": blosc2.Codec.ZSTD, "lz4": blosc2.Codec.LZ4}
        self.threads = threads
        self.compression = blosc2.CParams(codec=names[codec], clevel=LEVELS[codec],
                                          nthreads=threads,
                                          filters=[blosc2.Filter.BITSHUFFLE])
        blosc2.set_nthreads(threads)

    def write(self, pixels: Pixels, path: str) -> None:
        self.blosc2.asarray(pixels, urlpath=path, mode="w", chunks=(1, *pixels.shape[1:]),
                            cparams=self.compression)

    def _open(self, path: str) -> Any:
        return self.blosc2.open(path, mode="r", dparams=self.blosc2.DParams(nthreads=self.threads))

    def read(self, path: str) -> Pixels:
        return self._open(path)[:]

    def frame(self, path: str, index: int) -> Pixels:
        return self._open(path)[index]


class Hdf5:
    """h5py with the filters of hdf5plugin."""

    def __init__(self, codec: str) -> None:
        self.h5py = importlib.import_module("h5py")
        plugin = importlib.import_module("hdf5plugin")
        self.filter = {
            "bslz4": lambda: plugin.Bitshuffle(cname="lz4"),
            "bszstd": lambda: plugin.Bitshuffle(cname="zstd", clevel=LEVELS["zstd"]),
            "bloscz": lambda: plugin.Blosc(cname="zstd", clevel=LEVELS["zstd"],
                                           shuffle=plugin.Blosc.BITSHUFFLE),
        }[codec]()

    def write(self, pixels: Pixels, path: str) -> None:
        with self.h5py.File(path, "w") as file:
            file.create_dataset("data", data=pixels, chunks=(1, *pixels.shape[1:]), **self.filter)

    def read(self, path: str) -> Pixels:
        with self.h5py.File(path, "r") as file:
            return file["data"][()]

    def frame(self, path: str, index: int) -> Pixels:
        with self.h5py.File(path, "r") as file:
            return file["data"][index]


class Zarr:
    """A zarr 3 array in a folder."""

    def __init__(self, codec: str, threads: int) -> None:
        self.zarr = importlib.import_module("zarr")
        self.zarr.config.set({"threading.max_workers": threads})
        self.codec = self.zarr.codecs.BloscCodec(cname=codec, clevel=LEVELS[codec],
                                                 shuffle="bitshuffle")

    def write(self, pixels: Pixels, path: str) -> None:
        array = self.zarr.create_array(path, shape=pixels.shape, dtype=pixels.dtype,
                                       chunks=(1, *pixels.shape[1:]),
                                       compressors=self.codec)
        array[...] = pixels

    def read(self, path: str) -> Pixels:
        return self.zarr.open_array(path, mode="r")[...]

    def frame(self, path: str, index: int) -> Pixels:
        return self.zarr.open_array(path, mode="r")[index]


class TiffFile:
    """tifffile, one page a frame."""

    def __init__(self, codec: str, threads: int) -> None:
        self.tifffile = importlib.import_module("tifffile")
        self.threads = threads
        level = LEVELS.get(codec)
        self.options: dict[str, Any] = {"compression": codec}
        if level is not None:
            self.options["compressionargs"] = {"level": level}

    def write(self, pixels: Pixels, path: str) -> None:
        self.tifffile.imwrite(path, pixels, photometric="minisblack", maxworkers=self.threads,
                              **self.options)

    def read(self, path: str) -> Pixels:
        return self.tifffile.imread(path, maxworkers=self.threads)

    def frame(self, path: str, index: int) -> Pixels:
        return self.tifffile.imread(path, key=index, maxworkers=self.threads)


def contender(name: str, codec: str, threads: int) -> Contender:
    """Return a contender by its name in the catalog."""
    makers: dict[str, Callable[[], Contender]] = {
        "mrcz": lambda: Mrcz(codec, threads),
        "python-mrcz": lambda: PythonMrcz(codec, threads),
        "numpy": NumpySave if codec == "save" else NumpyToFile,
        "mrcfile": MrcFile,
        "blosc2": lambda: Blosc2(codec, threads),
        "hdf5": lambda: Hdf5(codec),
        "zarr": lambda: Zarr(codec, threads),
        "tifffile": lambda: TiffFile(codec, threads),
    }
    return makers[name]()
