"""On paper: what would bind on a server, from what was measured with one thread here."""

from __future__ import annotations

import statistics
from typing import Any

from .bars import Results
from .catalog import LEVELS, MAIN

CORES = 64
DRIVE = {"read": 7.0, "write": 5.0}
"""GB/s of one PCIe 4.0 x4 NVMe drive, sequential."""
MEMORY = 200.0
"""GB/s of the memory bus: eight channels of DDR4-3200."""
PIECE_BYTES = 4 << 20
"""Largest part of a frame that is one task."""

HEADINGS = ("data", "codec", "", f"{CORES} cores", "drive", "memory bus", "interpreter",
            "ordered writer", "binds", "cores needed")


def limits(results: Results, data: str, codec: str, what: str) -> dict[str, float] | None:
    """Return how fast, in GB/s of pixels, each resource would allow it to be.

    Returns
    -------
    dict or None
        ``one core`` as measured, and the limits; None without the measurements.
    """
    one = results.cell(data, "mrcz", codec, threads=1)
    call = results.extras.get("per_frame", {}).get(what)
    saved = results.cell(data, "numpy", "save").get("write")
    facts = results.raw["data"].get(data)
    if not (one and call and saved and facts):
        return None
    ratio, nbytes = one["ratio"], facts["nbytes"]
    rate = nbytes / statistics.median(one[what]) / 1e9
    frame_bytes = nbytes // facts["shape"][0]
    # Bytes that cross the bus for a byte of pixels. Reading: the output is cleared by the system,
    # fetched and written; the chunk comes from the drive, and is copied. Writing: the pixels are
    # fetched; the chunk is written, copied and sent to the drive.
    traffic = 3 + 3 / ratio if what == "read" else 1 + 4 / ratio
    found = {
        "one core": rate,
        f"{CORES} cores": CORES * rate,
        "drive": DRIVE[what] * ratio,
        "memory bus": MEMORY / traffic,
        "interpreter": min(frame_bytes, PIECE_BYTES) / statistics.median(call) / 1e9,
    }
    if what == "write":  # one thread at a time copies chunks to the file, as fast as np.save does
        found["ordered writer"] = nbytes / statistics.median(saved) / 1e9 * ratio
    return found


def table(results: Results) -> list[tuple[str, ...]]:
    """Return the rows under `HEADINGS`."""
    rows = []
    for data in MAIN:
        for codec, level in LEVELS.items():
            for what in ("read", "write"):
                found = limits(results, data.name, codec, what)
                if found is not None:
                    rows.append((data.title, f"{codec} {level}", what, *_cells(found)))
    return rows


def _cells(found: dict[str, Any]) -> tuple[str, ...]:
    one = found.pop("one core")
    binds = min(found, key=lambda name: found[name])
    columns = [f"{found[name]:.0f}" if name in found else "-" for name in HEADINGS[3:8]]
    return (*columns, binds, f"{min(CORES, found[binds] / one):.0f}")
