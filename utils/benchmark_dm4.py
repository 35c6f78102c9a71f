"""Time reading Gatan DM4 files: mrcz against RosettaSciIO and ncempy.

Makes a movie as a K2 camera writes it and a file of many tags in a directory (which
should be in memory, so that no disk is timed), and has each reader read them, in turns,
each time in a process of its own, after its imports.  Prints medians and ratios, and
fails if one of the bars is missed or two readers do not read the same.

    pip install rosettasciio ncempy
    python utils/benchmark_dm4.py /dev/shm
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

READ, TAGS, OPEN = "read", "tags", "open"


# --- in the process of a reader ---------------------------------------------------------


def mrcz_read(path):
    """Read into an array, turned back for the comparison."""
    from mrcz.ioDM4 import readDM4
    return readDM4(path).im[-1].read()[:, ::-1]


def mrcz_map(path):
    """Copy the memory map, with one thread."""
    import numpy as np

    from mrcz.ioDM4 import readDM4
    return np.array(readDM4(path).im[-1].imageData)[:, ::-1]


def mrcz_tags(path):
    """Open."""
    from mrcz.ioDM4 import readDM4
    return readDM4(path)


def rosettasciio_read(path):
    """Read."""
    from rsciio.digitalmicrograph import file_reader
    return file_reader(path)[-1]["data"]


def ncempy_read(path):
    """Read."""
    from ncempy.io.dm import fileDM
    with fileDM(path) as file:
        return file.getDataset(0)["data"]


def ncempy_tags(path):
    """Open."""
    from ncempy.io.dm import fileDM
    with fileDM(path):
        pass


def plain_open(path):
    """Open, and no more."""
    with Path(path).open("rb"):
        pass


JOBS = {READ: {"mrcz": mrcz_read, "mrcz, copy of imageData": mrcz_map,
               "rosettasciio": rosettasciio_read, "ncempy": ncempy_read},
        TAGS: {"mrcz": mrcz_tags, "rosettasciio": rosettasciio_read, "ncempy": ncempy_tags},
        OPEN: {"mrcz": mrcz_tags, "open()": plain_open}}


def child(job: str, reader: str, path: str, small: str) -> None:
    """Time one reading of the movie, or many of what takes but a moment."""
    function = JOBS[job][reader]
    function(small)  # its imports, and what it prepares once
    taken = []
    for _ in range(1 if job == READ else 25):
        result = None  # give back its memory
        start = time.perf_counter()
        result = function(path)
        taken.append(time.perf_counter() - start)
    found = [int(result[::7].sum(dtype="i8")), result[-1, :3, :3].tolist()] if job == READ else None
    print(json.dumps([statistics.median(taken), found]))


# --- in the process of the user ---------------------------------------------------------


def make_files(directory: Path, frames: int) -> dict[str, Path]:
    """Write a movie, a file of about 300 kB of tags, and a small one to warm up with."""
    import numpy as np

    from tests import dm_writer as w

    frame = np.random.default_rng(0).poisson(20, (3838, 3710)).astype("i2")
    movie = np.empty((frames, *frame.shape), "i2")
    for number in range(frames):
        movie[number] = np.roll(frame, number)
    group = {"text": w.text("what a microscope has to tell"), "number": w.float64(0.5),
             "flags": [w.boolean(True)] * 4, "place": w.struct_of([3, 3, 7], [1, 2, 3.0]),
             "bytes": w.array(10, range(100))}
    tags = {f"group {i}": {f"sub {j}": group for j in range(8)} for i in range(75)}
    trees = {"movie": w.document(w.image_of(movie)),
             "tags": w.document(w.image_of(frame[:64, :64]), Tags=tags),
             "small": w.document(w.image_of(movie[:2, :16, :16]))}
    return {name: w.write(directory / f"benchmark_{name}.dm4", tree)
            for name, tree in trees.items()}


def time_in_turns(job: str, path: Path, small: Path, repeats: int) -> dict[str, float]:
    """Return the median seconds of each reader."""
    seconds: dict[str, list[float]] = {reader: [] for reader in JOBS[job]}
    results = []
    for _ in range(repeats):
        for reader in seconds:
            done = subprocess.run([sys.executable, __file__, "--child", job, reader, str(path),
                                   str(small)], capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{reader} failed:\n{done.stderr}")
            taken, result = json.loads(done.stdout.splitlines()[-1])
            seconds[reader].append(taken)
            results.append(result)
    if any(result != results[0] for result in results):
        raise SystemExit(f"the readers do not read the same: {results}")
    medians = {reader: statistics.median(taken) for reader, taken in seconds.items()}
    for reader, median in medians.items():
        spread = f"{min(seconds[reader]) * 1e3:.2f} to {max(seconds[reader]) * 1e3:.2f}"
        print(f"  {reader:24} {median * 1e3:9.2f} ms   ({spread}; "
              f"mrcz is {median / medians['mrcz']:.2f} times as fast)")
    return medians


def measure(directory: Path, frames: int, repeats: int, tags_file: Path | None) -> bool:
    """Print all figures; return whether the bars are met."""
    files = make_files(directory, frames)
    try:
        tags_file = tags_file or files["tags"]
        print(f"a movie of {files['movie'].stat().st_size / 1e9:.2f} GB, to an array")
        read = time_in_turns(READ, files["movie"], files["small"], repeats)
        print("the movie opened: its tags")
        opened = time_in_turns(OPEN, files["movie"], files["small"], repeats)
        print(f"tags of {tags_file.name}, {tags_file.stat().st_size / 1e3:.0f} kB")
        tags = time_in_turns(TAGS, tags_file, files["small"], repeats)
    finally:
        for path in files.values():
            path.unlink()
    bars = [("reading, against rosettasciio", read["rosettasciio"] / read["mrcz"], 1.5),
            ("reading, against ncempy", read["ncempy"] / read["mrcz"], 1.5),
            ("opening, 5 ms over what it takes more than open()",
             5e-3 / (opened["mrcz"] - opened["open()"]), 1),
            ("tags, against rosettasciio", tags["rosettasciio"] / tags["mrcz"], 3)]
    for name, ratio, bar in bars:
        print(f"{'met   ' if ratio >= bar else 'MISSED'} {name}: {ratio:.2f}, bar {bar}")
    return all(ratio >= bar for _, ratio, bar in bars)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path, help="where the files are made, best in memory")
    parser.add_argument("--frames", type=int, default=40, help="of 3838 x 3710 int16; default 40")
    parser.add_argument("--repeats", type=int, default=5, help="of which the median is taken")
    parser.add_argument("--tags-file", type=Path, help="a real file for the timing of tags")
    arguments = parser.parse_args()
    if not measure(arguments.directory, arguments.frames, arguments.repeats,
                   arguments.tags_file):
        raise SystemExit(1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
