"""Timing all contenders on one data set, in interleaved rounds."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .catalog import K3, SMALL, Cell, DataSet
from .environment import Environment
from .files import remove

FRAMES = 3
"""Random frames a round."""
SHORT = 15
"""As many of what takes less than a millisecond: small frames, and rows, in one block or two."""
SMALL_FRAME_BYTES = 1 << 20
TIMES = ("write", "read", "frame", "rows")
"""What is timed."""


class WorkerFailure(Exception):
    """A contender raised an exception, gave wrong pixels, or ended."""


class WorkerProcess:
    """A contender's process, seen from the one that asks."""

    def __init__(self, environment: Environment, cell: Cell, data: Path) -> None:
        # A file, not a pipe: nothing waits when a library is talkative.
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed by close)
        command = environment.command("worker", cell.contender, cell.codec, str(cell.threads),
                                      str(data))
        self.process = subprocess.Popen(
            command, cwd=data.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.errors, text=True, env=environment.variables(cell.contender),
        )

    def ask(self, do: str, turns: Sequence[dict[str, Any]] = ({},),
            **arguments: Any) -> list[dict[str, float]]:
        """Have something done, once a turn, and return what was measured of each.

        Parameters
        ----------
        do : str
            Name of a method of `Worker`.
        turns : sequence of dict
            Arguments of each.
        **arguments
            Of all.

        Raises
        ------
        WorkerFailure
            If it was not done, or not right.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, "turns": [*turns], **arguments}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.errors.seek(0)
            raise WorkerFailure(f"process ended: {self.errors.read().strip()[-2000:]}")
        answer = json.loads(line)
        if isinstance(answer, str):
            raise WorkerFailure(answer)
        return answer

    def close(self) -> None:
        """End the process."""
        self.process.communicate()
        self.errors.close()

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Contest:
    """All cells of one data set; `run` gives their figures."""

    def __init__(self, environment: Environment, data: DataSet, cells: Sequence[Cell],
                 work: Path) -> None:
        self.environment = environment
        self.data = data
        self.cells = cells
        self.work = work
        self.input = work / f"{data.name}.npy"
        self.figures: dict[str, dict[str, Any]] = {
            cell.key: {**asdict(cell), "data": data.name, "label": cell.label, "error": None,
                       **{name: [] for name in TIMES}} for cell in cells
        }
        self.sources = {cell.source for cell in cells}

    def run(self, rounds: int, *, peaks: bool) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return the figures of each cell, of memory too if asked, and facts about the data."""
        wanted = {"shape": self.data.shape, "dtype": self.data.dtype, "mean": self.data.mean,
                  "threads": self.environment.threads}
        say(f"{self.data.title}: {self.data.nbytes / 1e6:.1f} MB")
        facts = self.environment.run("data", "numpy", self.work, str(self.input),
                                     json.dumps(wanted))
        try:
            self._rounds(rounds)
            if peaks:
                self._peaks()
            if any(cell.codec == "auto" for cell in self.cells):
                facts["grid"] = self.environment.run(
                    "probes", "mrcz", self.work, "grid",
                    json.dumps({"data": str(self.input), "limit": self.data.nbytes // 16})
                )
        finally:
            remove(str(self.input))
            for cell in self.cells:
                remove(str(self.work / cell.file))
        facts |= {"title": self.data.title, "shape": self.data.shape, "dtype": self.data.dtype,
                  "nbytes": self.data.nbytes}
        return list(self.figures.values()), facts

    def _rounds(self, rounds: int) -> None:
        workers = {cell: WorkerProcess(self.environment, cell, self.input) for cell in self.cells}
        chance = random.Random(self.data.name)
        try:
            for number in range(rounds + 1):
                places = [{"place": chance.random()} for _ in range(SHORT)]
                # There and back, so that none is always the one after the slowest; but a file
                # must have been written once before another cell reads it.
                order = self.cells if number % 2 == 0 else self.cells[::-1]
                for cell in order:
                    self._turn(cell, workers[cell], places, warm_up=number == 0)
                say(f"  {self.data.name}: round {number} of {rounds}")
        finally:
            for worker in workers.values():
                worker.close()

    def _turn(self, cell: Cell, worker: WorkerProcess, places: Sequence[dict[str, float]], *,
              warm_up: bool) -> None:
        """Let one cell write, read, and read frames, once each."""
        figures, path = self.figures[cell.key], str(self.work / cell.file)
        if figures["error"]:
            return
        repeated = [{}] * self.data.repeat
        taken: dict[str, list[dict[str, float]]] = {}
        try:
            if not cell.source:
                taken["write"] = worker.ask("write", repeated, path=path)
            taken["read"] = worker.ask("read", repeated, path=path)
            if self.data.name != SMALL.name and not cell.source:
                is_small = self.data.nbytes < SMALL_FRAME_BYTES * self.data.shape[0]
                taken["frame"] = worker.ask("frame", places[: None if is_small else FRAMES],
                                            path=path)
            if self._has_rows(cell):
                taken["rows"] = self._rows(figures, worker, path, places)
        except WorkerFailure as failure:
            figures["error"] = str(failure)
            say(f"  {cell.key}: {failure}")
            return
        if "write" in taken:
            figures["bytes"] = taken["write"][0]["bytes"]
            figures["ratio"] = self.data.nbytes / figures["bytes"]
        if not warm_up:
            for name, answers in taken.items():
                figures[name] += [answer["seconds"] for answer in answers]
        if not cell.source and cell.key not in self.sources:
            remove(path)

    def _has_rows(self, cell: Cell) -> bool:
        return self.data.name == K3.name and not cell.source and (
            (cell.contender, cell.codec, cell.threads) == ("mrcz", "zstd", self.environment.threads)
        )

    @staticmethod
    def _rows(figures: dict[str, Any], worker: WorkerProcess, path: str,
              places: Sequence[dict[str, float]]) -> list[dict[str, float]]:
        """Return times of partial frames; a failure is that figure's alone."""
        if figures.get("rows_error"):
            return []
        try:
            return worker.ask("rows", places, path=path)
        except WorkerFailure as failure:
            figures["rows_error"] = str(failure)
            say(f"  rows: {failure}")
            return []

    def _peaks(self) -> None:
        """Note how much memory each needs, and its first read's time, in fresh processes."""
        for cell in self.cells:
            figures, path = self.figures[cell.key], str(self.work / cell.file)
            if figures["error"] or cell.source:
                continue
            try:
                with WorkerProcess(self.environment, cell, self.input) as worker:
                    figures["write_peak"] = worker.ask("write_for_peak", path=path)[0]["peak"]
                with WorkerProcess(self.environment, cell, self.input) as worker:
                    answer = worker.ask("read_for_peak", path=path)[0]
                    figures["read_peak"] = max(0, answer["peak"])
                    figures["first_read"] = answer["seconds"]
            except WorkerFailure as failure:
                figures["error"] = str(failure)
            remove(path)


def say(text: str) -> None:
    """Tell the user how far it is."""
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)
