"""The data sets, and which contender meets which of them with which codec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

LEVELS = {"zstd": 1, "lz4": 9}
"""Compression levels of all contenders that know the codec."""


@dataclass(frozen=True)
class DataSet:
    """Seeded pixels.

    Attributes
    ----------
    name, title : str
        Short and long.
    shape : (nz, ny, nx)
        Frames, rows, columns.
    dtype : str
        Of the pixels.
    mean : float or None
        Of the Poisson distribution; None: standard normal.
    repeat : int
        How often an operation is done a round; above 1 for what takes microseconds.
    """

    name: str
    title: str
    shape: tuple[int, int, int]
    dtype: str
    mean: float | None
    repeat: int = 1

    @property
    def itemsize(self) -> int:
        """Bytes a pixel."""
        return int(self.dtype[1:])

    @property
    def nbytes(self) -> int:
        """Bytes in all."""
        nz, ny, nx = self.shape
        return nz * ny * nx * self.itemsize

    def scaled(self, scale: float) -> DataSet:
        """Return the data set with about `scale` of its pixels: fewer frames, then rows."""
        nz, ny, nx = self.shape
        if scale >= 1 or nz * ny * nx < 1 << 20:
            return self
        frames = max(min(nz, 4), round(nz * scale))
        rows = max(64, round(ny * min(1.0, scale * nz / frames)))
        return replace(self, shape=(frames, rows, nx))


K3 = DataSet("k3", "K3-like movie, int8 Poisson(0.75)", (20, 4092, 5760), "i1", 0.75)
U2 = DataSet("u2", "integrating camera, uint16 Poisson(40)", (16, 4096, 4096), "u2", 40.0)
F4 = DataSet("f4", "micrographs, float32 N(0, 1)", (8, 4096, 4096), "f4", None)
STEM = DataSet("4d-stem", "4D-STEM, uint16 Poisson(0.1)", (4096, 256, 256), "u2", 0.1)
SINGLE = DataSet("single", "one frame, uint16 Poisson(40)", (1, 4096, 4096), "u2", 40.0, repeat=3)
SMALL = DataSet("small", "one small frame, float32 N(0, 1)", (1, 64, 64), "f4", None, repeat=100)

MAIN = (K3, U2, F4, STEM)
"""What the bars and the plots are about."""
DATA_SETS = (*MAIN, SINGLE, SMALL)


@dataclass(frozen=True)
class Cell:
    """One contender with one codec on one data set.

    Attributes
    ----------
    contender, codec : str
        Who, with what.
    threads : int
        How many it may use.
    source : str
        Key of the cell whose file it reads instead of writing its own; '' for its own.
    """

    contender: str
    codec: str
    threads: int
    source: str = ""

    @property
    def key(self) -> str:
        """A name, unique within a data set."""
        source = f" from {self.source}" if self.source else ""
        return f"{self.contender} {self.codec} x{self.threads}{source}"

    @property
    def file(self) -> str:
        """Name of the file that it writes, or reads."""
        if self.source:
            return self.source.replace(" ", "-") + ".mrcz"
        suffix = SUFFIXES.get(self.contender, ".mrc" if self.codec == "raw" else ".mrcz")
        return self.key.replace(" ", "-") + suffix

    @property
    def label(self) -> str:
        """The codec with its level."""
        level = LEVELS.get(self.codec)
        return LABELS.get(self.codec, self.codec if level is None else f"{self.codec} {level}")


LABELS = {"bslz4": "Bitshuffle lz4", "bszstd": "Bitshuffle zstd 1", "bloscz": "Blosc zstd 1",
          "save": "np.save", "tofile": "ndarray.tofile"}
SUFFIXES = {"numpy": ".npy", "mrcfile": ".mrc", "blosc2": ".b2nd", "hdf5": ".h5",
            "zarr": ".zarr", "tifffile": ".tif"}

CODECS: dict[str, tuple[str, ...]] = {
    "mrcz": ("zstd", "lz4", "auto", "raw"),
    "python-mrcz": ("zstd", "lz4", "raw"),
    "numpy": ("save", "tofile"),
    "mrcfile": ("raw",),
    "blosc2": ("zstd", "lz4"),
    "hdf5": ("bslz4", "bszstd", "bloscz"),
    "zarr": ("zstd", "lz4"),
    "tifffile": ("zstd", "lzw"),
}


def cells_of(data: DataSet, contenders: Sequence[str], threads: int) -> list[Cell]:
    """Return who runs on `data`, those that are compared side by side."""
    if data.name == SMALL.name:
        cells = [Cell(name, "zstd", threads) for name in ("mrcz", "python-mrcz")]
    elif data.name == SINGLE.name:
        cells = [Cell("mrcz", codec, count) for codec in ("zstd", "lz4")
                 for count in sorted({threads, 1})]
    else:
        cells = _main_cells(threads)
    return [cell for cell in cells if cell.contender in contenders
            and (not cell.source or "python-mrcz" in contenders)]


def _main_cells(threads: int) -> list[Cell]:
    cells = []
    for codec in ("zstd", "lz4"):
        own, theirs = Cell("mrcz", codec, threads), Cell("python-mrcz", codec, threads)
        cells += [own, theirs]
        if codec == "zstd":
            cells.append(replace(own, source=theirs.key))
        if threads > 1:
            cells.append(replace(own, threads=1))
    cells += [Cell("mrcz", "auto", threads), Cell("mrcz", "raw", threads)]
    done = {(cell.contender, cell.codec) for cell in cells}
    cells += [Cell("numpy", codec, threads) for codec in CODECS["numpy"]]
    cells += [Cell(name, codec, threads) for name, codecs in CODECS.items() for codec in codecs
              if name != "numpy" and (name, codec) not in done]
    return cells
