"""The environment that the contenders run in."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import venv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

UTILS = Path(__file__).resolve().parent.parent
ROOT = UTILS.parent
REQUIREMENTS = UTILS / "benchmark-requirements.txt"

INCUMBENT = "mrcz==0.6.0"
"""python-mrcz is installed beside the environment, for it has this package's name."""
INCUMBENT_FOLDER = "python-mrcz"

PACKAGES: dict[str, tuple[str, ...]] = {
    "mrcz": ("numpy", "blosc", "python-rapidjson", "xxhash", "tqdm"),
    "python-mrcz": ("numpy", "blosc", "packaging"),
    "numpy": ("numpy",),
    "mrcfile": ("mrcfile",),
    "blosc2": ("blosc2",),
    "hdf5": ("h5py", "hdf5plugin"),
    "zarr": ("zarr",),
    "tifffile": ("tifffile", "imagecodecs"),
}
"""What each contender is made of, by the names of the package index."""

_FIND = """
import importlib.metadata, importlib.util, json, sys
versions = {}
for name in sys.argv[1:]:
    try:
        versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
json.dump([sys.version.split()[0], versions], sys.stdout)
"""


@dataclass(frozen=True)
class Environment:
    """An interpreter with the peers installed.

    Attributes
    ----------
    python : str
        The interpreter.
    incumbent : Path
        Folder that holds python-mrcz.
    threads : int
        How many every contender may use.
    """

    python: str
    incumbent: Path
    threads: int

    @classmethod
    def at(cls, folder: Path | None, threads: int) -> Environment:
        """Return the environment in `folder`; None: the one that is running."""
        prefix = Path(sys.prefix) if folder is None else folder.resolve()
        python = sys.executable if folder is None else str(_python_of(prefix))
        return cls(python, prefix / INCUMBENT_FOLDER, threads)

    def variables(self, contender: str) -> dict[str, str]:
        """Return the environment variables of a process for `contender`."""
        path = [str(UTILS)]
        if contender == "mrcz":
            path.append(str(ROOT))
        elif contender == "python-mrcz":
            path.append(str(self.incumbent))
        # Libraries that take the number of threads from nowhere else.
        pools = ("BLOSC_NTHREADS", "OMP_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS")
        inherited = {key: value for key, value in os.environ.items()
                     if not key.startswith(("PYTHON", "BLOSC"))}
        return {**inherited, **dict.fromkeys(pools, str(self.threads)),
                "PYTHONPATH": os.pathsep.join(path)}

    def command(self, module: str, *arguments: str) -> list[str]:
        """Return a command that runs one of these modules."""
        return [self.python, "-m", f"benchlib.{module}", *arguments]

    def run(self, module: str, contender: str, work: Path, *arguments: str) -> Any:
        """Run a module in a fresh process and return the JSON that it prints.

        Raises
        ------
        RuntimeError
            If it fails; with what it wrote to standard error.
        """
        done = subprocess.run(self.command(module, *arguments), cwd=work, text=True,
                              capture_output=True, env=self.variables(contender))
        if done.returncode:
            raise RuntimeError(f"{module} {' '.join(arguments)}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def versions(self) -> tuple[str, dict[str, str]]:
        """Return the version of Python and those of the packages that are there."""
        names = sorted({name for packages in PACKAGES.values() for name in packages})
        done = subprocess.run([self.python, "-c", _FIND, *names], check=True, text=True,
                              capture_output=True, env=self.variables("numpy"))
        python, found = json.loads(done.stdout)
        if (self.incumbent / "mrcz").is_dir():
            found[INCUMBENT_FOLDER] = INCUMBENT.split("==")[1]
        return python, found

    def present(self, wanted: Iterable[str]) -> tuple[list[str], list[str]]:
        """Return which contenders can run here, and which are absent."""
        _, found = self.versions()
        here: list[str] = []
        absent: list[str] = []
        for name in wanted:
            needed = [*PACKAGES[name], *([INCUMBENT_FOLDER] if name == "python-mrcz" else [])]
            (here if all(package in found for package in needed) else absent).append(name)
        return here, absent


def make(folder: Path, contenders: Sequence[str]) -> None:
    """Make an environment for `contenders`, with the versions that are pinned."""
    venv.create(folder, with_pip=True, clear=True)
    pip = [str(_python_of(folder)), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    if set(contenders) == set(PACKAGES):
        subprocess.run([*pip, "-r", str(REQUIREMENTS)], check=True)
    else:
        names = sorted({name for contender in contenders for name in PACKAGES[contender]})
        subprocess.run([*pip, "-c", str(REQUIREMENTS), *names], check=True)
    if "python-mrcz" in contenders:
        target = str(folder / INCUMBENT_FOLDER)
        subprocess.run([*pip, "--no-deps", "--target", target, INCUMBENT], check=True)


def machine(work: Path) -> dict[str, Any]:
    """Return what the figures depend on beside the code."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "memory_gb": round(_memory() / 1e9, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "work_filesystem": _filesystem(work),
    }


def cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _python_of(prefix: Path) -> Path:
    return prefix / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def _filesystem(work: Path) -> str:
    """Return the type of the file system that `work` is on, or 'unknown'."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    there = work.resolve()
    over = [(len(mount[1]), mount[2]) for mount in mounts if there.is_relative_to(mount[1])]
    return max(over)[1] if over else "unknown"
