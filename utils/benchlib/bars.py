"""What is asked of the figures, and whether they give it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .catalog import F4, K3, MAIN, SINGLE, SMALL, STEM, U2

MIB = 1 << 20

READ = {K3.name: 1.5, U2.name: 2.8, F4.name: 3.5, STEM.name: 3.3}
"""Times as fast as python-mrcz: reading zstd 1."""
READ_OLD = {K3.name: 1.05, U2.name: 1.5, F4.name: 3.0, STEM.name: 2.5}
"""Reading a file that python-mrcz wrote."""
WRITE = {"zstd": 1.3, "lz4": 1.05}
WRITE_STEM = 3.5
RATIO = {K3.name: 4.5, U2.name: 2.94, F4.name: 1.15, STEM.name: 26.5}
FRAME_RIVALS = {
    "zstd": (("blosc2", "zstd"), ("hdf5", "bszstd"), ("zarr", "zstd")),
    "lz4": (("blosc2", "lz4"), ("hdf5", "bslz4"), ("zarr", "lz4")),
}
"""Whom one random frame is compared with."""


@dataclass(frozen=True)
class Bar:
    """One demand.

    Attributes
    ----------
    name : str
        What is measured.
    bound : float
        At least this, or at most where `most`.
    measured : float or None
        None where it could not be measured, which fails.
    most : bool
        Whether `bound` is an upper one.
    unit : str
        Of both numbers.
    note : str
        More about the measurement.
    """

    name: str
    bound: float
    measured: float | None
    most: bool = False
    unit: str = "x"
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the demand is met."""
        if self.measured is None or math.isnan(self.measured):
            return False
        return self.measured <= self.bound if self.most else self.measured >= self.bound

    def row(self) -> tuple[str, str, str, str]:
        """Return the cells of a table: demand, bound, measured, verdict."""
        measured = "not measured" if self.measured is None else f"{self.measured:.4g} {self.unit}"
        name = f"{self.name} ({self.note})" if self.note else self.name
        sign = "<=" if self.most else ">="
        return (name, f"{sign} {self.bound:g} {self.unit}", measured,
                "pass" if self.passed else "FAIL")


class Results:
    """The results of a run, by name."""

    def __init__(self, results: dict[str, Any]) -> None:
        self.raw = results
        self.threads: int = results["threads"]
        self.extras: dict[str, Any] = results["extras"]

    def cell(self, data: str, contender: str, codec: str, *, threads: int | None = None,
             source: bool = False) -> dict[str, Any]:
        """Return the figures of a cell, empty if it did not run or failed."""
        threads = self.threads if threads is None else threads
        for cell in self.raw["cells"]:
            if (cell["data"], cell["contender"], cell["codec"], cell["threads"],
                    bool(cell["source"])) == (data, contender, codec, threads, source):
                return cell if not cell["error"] else {}
        return {}

    @staticmethod
    def speedup(fast: dict[str, Any], slow: dict[str, Any], what: str) -> float | None:
        """Return the median, over the rounds, of how many times as fast one is."""
        pairs = list(zip(fast.get(what) or [], slow.get(what) or [], strict=False))
        return statistics.median(theirs / ours for ours, theirs in pairs) if pairs else None


def bars(results: Results) -> list[Bar]:
    """Return every demand with what was measured of it."""
    groups = (_against_incumbent, _ratios, _uncompressed, _auto, _memory, _calls, _threads,
              _random_access)
    return [bar for group in groups for bar in group(results)]


def _against_incumbent(results: Results) -> Iterator[Bar]:
    speedups: dict[str, list[float | None]] = {"read": [], "write": []}
    for data in (each.name for each in MAIN):
        for codec in ("zstd", "lz4"):
            ours = results.cell(data, "mrcz", codec)
            theirs = results.cell(data, "python-mrcz", codec)
            for what in ("read", "write"):
                faster = results.speedup(ours, theirs, what)
                speedups[what].append(faster)
                if what == "write":
                    bound = WRITE_STEM if data == STEM.name else WRITE[codec]
                    yield Bar(f"write {data} {codec}, python-mrcz time / ours", bound, faster)
                elif codec == "zstd":
                    yield Bar(f"read {data} {codec}, python-mrcz time / ours", READ[data], faster)
        theirs = results.cell(data, "python-mrcz", "zstd")
        old = results.cell(data, "mrcz", "zstd", source=True)
        yield Bar(f"read {data} zstd of a python-mrcz file, its time / ours", READ_OLD[data],
                  results.speedup(old, theirs, "read"))
    yield Bar("read, geometric mean of 8 cells", 3.5, _mean(speedups["read"]))
    yield Bar("write, geometric mean of 8 cells", 1.8, _mean(speedups["write"]))


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.geometric_mean(known) if known and len(known) == len(values) else None


def _ratios(results: Results) -> Iterator[Bar]:
    for data in (each.name for each in MAIN):
        for codec in ("zstd", "lz4"):
            ours = results.cell(data, "mrcz", codec).get("ratio")
            theirs = results.cell(data, "python-mrcz", codec).get("ratio")
            if codec == "zstd":
                yield Bar(f"ratio {data} zstd", RATIO[data], ours, unit="")
            yield Bar(f"ratio {data} {codec}, ours / python-mrcz's", 1.0,
                      ours / theirs if ours and theirs else None)


def _uncompressed(results: Results) -> Iterator[Bar]:
    for data in (each.name for each in MAIN):
        ours = results.cell(data, "mrcz", "raw")
        yield Bar(f"write {data} raw, np.save time / ours", 1.0,
                  results.speedup(ours, results.cell(data, "numpy", "save"), "write"))
        yield Bar(f"read {data} raw, np.fromfile time / ours", 1.0,
                  results.speedup(ours, results.cell(data, "numpy", "tofile"), "read"))


def _auto(results: Results) -> Iterator[Bar]:
    for data in (each.name for each in MAIN):
        auto, zstd = results.cell(data, "mrcz", "auto"), results.cell(data, "mrcz", "zstd")
        grid = results.raw["data"].get(data, {}).get("grid")
        best = max(grid, key=lambda trial: trial["ratio"]) if grid else None
        note = "best: {codec} {level}, {filter}, {block} B".format(**best) if best else ""
        yield Bar(f"ratio {data} auto / best of all combinations", 0.99,
                  auto["ratio"] / best["ratio"] if auto and best else None, note=note)
        yield Bar(f"read {data} auto, bitshuffle zstd 1 time / its", 0.8,
                  results.speedup(auto, zstd, "read"))
    yield Bar("ratio u2 auto", 3.36, results.cell(U2.name, "mrcz", "auto").get("ratio"), unit="")
    for file in results.extras.get("real", []):
        yield Bar(f"size of {file['file']} auto / zstd 1", 1.01, file["auto"] / file["zstd"],
                  most=True)


def _memory(results: Results) -> Iterator[Bar]:
    cases = results.extras.get("memory")
    for case in cases or [{"case": "all", "compressor": None, "bytes": None}]:
        grown = None if case["bytes"] is None else case["bytes"] / MIB
        yield Bar(f"memory, {case['case']} {case['compressor'] or 'raw'}, beyond input and output",
                  96, grown, most=True, unit="MiB")


def _calls(results: Results) -> Iterator[Bar]:
    ours = results.cell(SMALL.name, "mrcz", "zstd")
    theirs = results.cell(SMALL.name, "python-mrcz", "zstd")
    for what in ("read", "write"):
        note = ", ".join(f"{name} {statistics.median(cell[what]) * 1e6:.0f} us"
                         for name, cell in (("ours", ours), ("python-mrcz", theirs))
                         if cell.get(what))
        yield Bar(f"{what} one frame of 64 x 64, our time / python-mrcz's", 0.7,
                  results.speedup(theirs, ours, what), most=True, note=note)
    imports = results.extras.get("imports", {})
    yield Bar("import mrcz, time / that of numpy and blosc", 1.5,
              results.speedup({"s": imports.get("numpy, blosc")}, {"s": imports.get("mrcz")}, "s"),
              most=True)


def _threads(results: Results) -> Iterator[Bar]:
    for what in ("read", "write"):
        many = results.cell(SINGLE.name, "mrcz", "zstd")
        one = results.cell(SINGLE.name, "mrcz", "zstd", threads=1)
        yield Bar(f"{what} one frame of 4096 x 4096, time of 1 thread / of {results.threads}", 1.3,
                  results.speedup(many, one, what))
    times = results.extras.get("concurrent", {})
    yield Bar("two reads, one after the other / at once", 1.0,
              results.speedup({"s": times.get("concurrent")}, {"s": times.get("serial")}, "s"))


def _random_access(results: Results) -> Iterator[Bar]:
    for data in (each.name for each in MAIN):
        for codec, rivals in FRAME_RIVALS.items():
            times = {name: results.cell(data, name, theirs).get("frame") for name, theirs in rivals}
            medians = {name: statistics.median(frame) for name, frame in times.items() if frame}
            ours = results.cell(data, "mrcz", codec).get("frame") or []
            best = min(medians, key=lambda name: medians[name], default="")
            complete = ours and len(medians) == len(rivals)
            yield Bar(f"random frame {data} {codec}, best rival's time / ours", 1.0,
                      medians[best] / statistics.median(ours) if complete else None,
                      note=f"{best} {medians[best] * 1e3:.2f} ms" if best else "")
    zstd = results.cell(K3.name, "mrcz", "zstd")
    rows, frames = zstd.get("rows"), zstd.get("frame")
    yield Bar("64 rows of a frame, whole frame's time / theirs", 12,
              statistics.median(frames) / statistics.median(rows) if rows and frames else None)
    many = results.extras.get("many_frames")
    yield Bar("open 65,536 frames and read number 50,000", 150,
              statistics.median(many) * 1e3 if many else None, most=True, unit="ms")
