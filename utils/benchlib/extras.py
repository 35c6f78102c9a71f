"""What is measured beside the contest on the data sets."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .catalog import K3
from .environment import Environment
from .files import remove
from .measure import say

MANY_FRAMES = 65536
MANY_INDEX = 50000
MEMORY_BYTES = 10**9
MEMORY_CASES = (
    ("write", None), ("read", None), ("read out", None),
    ("write", "zstd"), ("read", "zstd"), ("read out", "zstd"), ("write", "auto"),
    ("write float64", None), ("write float64", "zstd"),
    ("write strided", None), ("write strided", "zstd"),
)
"""Kind of call, compressor; a read reads what the write before it left."""

IMPORTS = {"mrcz": "mrcz", "python-mrcz": "mrcz", "numpy, blosc": "numpy, blosc"}

_PAIRS = 5
"""Two reads in turns and at once a round: what differs by nothing needs many to show it."""

_IMPORT = """
import time
started = time.perf_counter()
import {modules}
print(time.perf_counter() - started)
"""


class Extras:
    """The measurements, each of which may fail alone."""

    def __init__(self, environment: Environment, work: Path, scale: float, rounds: int) -> None:
        self.environment = environment
        self.work = work
        self.scale = min(1.0, scale)
        self.rounds = rounds

    def run(self, contenders: Sequence[str], real: Sequence[Path]) -> dict[str, Any]:
        """Return what was found; of what failed, the reason under 'errors'."""
        found: dict[str, Any] = {"errors": {}}
        measures: dict[str, Callable[[], Any]] = {
            "imports": lambda: self.imports(contenders),
            "concurrent": self.concurrent,
            "many_frames": self.many_frames,
            "per_frame": lambda: self._probe("per_frame", path=str(self.work / "frames.mrcz"),
                                             rounds=self.rounds),
            "memory": self.memory,
        }
        if real:
            measures["real"] = lambda: [
                file for folder in real
                for file in self._probe("real", folder=str(folder.resolve()))
            ]
        for name, measure in measures.items():
            say(name.replace("_", " "))
            try:
                found[name] = measure()
            except RuntimeError as error:
                found["errors"][name] = str(error)
                say(f"  {error}")
        return found

    def _probe(self, name: str, **arguments: Any) -> Any:
        return self.environment.run("probes", "mrcz", self.work, name, json.dumps(arguments))

    def imports(self, contenders: Sequence[str]) -> dict[str, list[float]]:
        """Time imports in fresh processes, in turns."""
        times: dict[str, list[float]] = {name: [] for name in IMPORTS
                                         if name in contenders or "," in name}
        for number in range(3 * self.rounds + 1):
            for name, seconds in times.items():
                source = _IMPORT.format(modules=IMPORTS[name])
                done = subprocess.run(
                    [self.environment.python, "-c", source], cwd=self.work, check=True, text=True,
                    capture_output=True, env=self.environment.variables(name),
                )
                if number:
                    seconds.append(float(done.stdout))
        return times

    def concurrent(self) -> dict[str, list[float]]:
        """Time two reads at once."""
        data, file = K3.scaled(self.scale), self.work / "concurrent.npy"
        wanted = {"shape": data.shape, "dtype": data.dtype, "mean": data.mean,
                  "threads": self.environment.threads}
        self.environment.run("data", "numpy", self.work, str(file), json.dumps(wanted))
        try:
            return self._probe("concurrent", data=str(file), folder=str(self.work),
                               threads=self.environment.threads, rounds=_PAIRS * self.rounds)
        finally:
            remove(str(file))

    def many_frames(self) -> list[float]:
        """Time one frame of very many, each time in a fresh process."""
        path, frames = str(self.work / "many.mrcz"), max(2048, int(MANY_FRAMES * self.scale))
        index = MANY_INDEX * frames // MANY_FRAMES
        try:
            self._probe("write_many", path=path, frames=frames)
            return [self._probe("read_one_of_many", path=path, index=index)
                    for _ in range(self.rounds + 1)][1:]
        finally:
            remove(path)

    def memory(self) -> list[dict[str, Any]]:
        """Return by how much calls raise the peak RSS, each in a fresh process."""
        path, found = str(self.work / "memory.mrcz"), []
        try:
            for case, compressor in MEMORY_CASES:
                if case.startswith("write"):
                    remove(path)
                grown = self._probe("memory", case=case, path=path, compressor=compressor,
                                    threads=self.environment.threads,
                                    nbytes=int(MEMORY_BYTES * self.scale))
                found.append({"case": case, "compressor": compressor, "bytes": max(0, grown)})
        finally:
            remove(path)
        return found
