"""Loading metadata files by their suffix, and saving them: the base of `mrcz.ReliablePy`."""
# ruff: noqa: N802, N803  (the names of methods and arguments are those of python-mrcz)

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcz.relion import box as _box
from mrcz.relion import convert, micrographs, par, star, starwrite
from mrcz.relion.blocks import find_block

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MICROGRAPHS", "PARTICLES", "MetadataFiles"]

log = logging.getLogger("mrcz.ReliablePy")

PARTICLES = "data_particles"  # what RELION >= 3.1 calls the nameless block of 3.0
MICROGRAPHS = "data_micrographs"
_MICROGRAPH_SUFFIXES = (".mrc", ".mrcz", ".mrcs")


class MetadataFiles:
    """What was loaded from files, and what can be saved of it; see `mrcz.ReliablePy`."""

    def __init__(self, *files: str | os.PathLike[str]) -> None:
        self.inputs: list[str] = []
        self.star: dict[str, Any] = {}
        self.par: list[pd.DataFrame] = []
        self.mrc: list[np.ndarray] = []
        self.mrc_header: list[dict[str, Any]] = []
        self.box: list[np.ndarray] = []
        self.mask: np.ndarray | None = None
        self._file_of_block: dict[str, str] = {}
        self.load(*files)

    def __repr__(self) -> str:
        return (f"<ReliablePy: {len(self.star)} STAR blocks, {len(self.par)} .par, "
                f"{len(self.mrc)} MRC, {len(self.box)} .box>")

    # -- reading ---------------------------------------------------------------

    def load(self, *patterns: str | os.PathLike[str]) -> None:
        """Load files by their suffix: .star, .par, .box, .mrc, .mrcs, .mrcz or .map.

        A block that is loaded again replaces the one of the same name, with a logged warning.

        Parameters
        ----------
        *patterns : str or os.PathLike
            Files or glob patterns; the matches of a pattern are loaded in sorted order.

        Raises
        ------
        FileNotFoundError
            If a pattern matches nothing.
        ValueError
            If a suffix is not known.
        mrcz.errors.MRCFormatError
            If a file is malformed.
        """
        readers: dict[str, Callable[[str], None]] = {
            ".star": self._load_star, ".par": self._load_par, ".box": self._load_box,
            **dict.fromkeys((*_MICROGRAPH_SUFFIXES, ".map"), self._load_mrc)}
        for pattern in [os.fspath(pattern) for pattern in patterns]:
            # A file whose own name has brackets is itself first.
            names = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern))
            if not names:
                raise FileNotFoundError(f"no file matches {pattern!r}")
            for name in names:
                suffix = Path(name).suffix.lower()
                if suffix not in readers:
                    raise ValueError(f"{name}: the suffix must be one of {', '.join(readers)}")
                readers[suffix](name)
                self.inputs.append(name)

    def _load_star(self, name: str) -> None:
        for key, block in star.read_star(name).items():
            if key in self.star:
                log.warning("block %s of %s replaces that of %s", key, name,
                            self._file_of_block.get(key, "the user"))
            self.star[key] = block
            self._file_of_block[key] = name

    def _load_par(self, name: str) -> None:
        self.par.append(par.read_par(name))

    def _load_box(self, name: str) -> None:
        self.box.append(_box.read_box(name))

    def _load_mrc(self, name: str) -> None:
        from mrcz.ioMRC import readMRC

        image, header = readMRC(name)
        self.mrc.append(image)
        self.mrc_header.append(header)

    # -- writing ---------------------------------------------------------------

    def saveDataStar(self, outputName: str | os.PathLike[str],
                     particleKey: str | bytes = "data_") -> None:
        """Write the particles, as pruned and regrouped, to a RELION STAR file.

        With them go the other blocks of the file that they were loaded from and the optics
        groups, so that a RELION 3.1, 4 or 5 file stays one. The file is replaced only when the
        new one is whole.

        Parameters
        ----------
        outputName : str or os.PathLike
            The file to write.
        particleKey : str, optional
            The block of the particles. The default ``data_`` is RELION 3.0's; where there is
            none, ``data_particles`` or ``data_micrographs`` is taken.

        Raises
        ------
        MissingColumnError
            If there is no such block.
        ValueError
            If columns differ in length or a value has no form in STAR.
        """
        key = self._key(particleKey, MICROGRAPHS)
        source = self._file_of_block.get(key)
        names = [name for name in self.star
                 if name in (key, "data_optics")
                 or (source is not None and self._file_of_block.get(name) == source)]
        starwrite.write_star(outputName, {name: self.star[name] for name in names})

    def saveDataAsPar(self, outputPrefix: str | os.PathLike[str],
                      N_classes: int = 1,
                      mag: float | None = None, pixelsize: float | None = None,
                      particleKey: str | bytes = "data_", *,
                      layout: str = par.FREALIGN_9.name, seed: int | None = None) -> list[str]:
        """Write the particles as Frealign (or cisTEM) parameter files.

        For each class X from 1 on, ``outputPrefix_1_rX.par`` is written, without comment
        lines; `relion_stack_create` makes the stack that goes with it. What becomes of which
        column, and with which sign, is told in `mrcz.relion.convert.particles_to_par`.

        Parameters
        ----------
        outputPrefix : str or os.PathLike
            What the names of the files begin with.
        N_classes : int, optional
            How many classes.
        mag : float, optional
            Magnification, instead of RELION's.
        pixelsize : float, optional
            Angstrom, instead of the file's, which RELION 3.0 rounds.
        particleKey : str, optional
            The block of the particles, as in `saveDataStar`.
        layout : {'Frealign 9', 'FrealignX'}, optional
            FrealignX, also cisTEM's, has the column for phase shifts.
        seed : int, optional
            Makes the random occupancies repeatable.

        Returns
        -------
        list of str
            The files written.

        Raises
        ------
        MissingColumnError
            If RELION has not written what Frealign needs (angles, origins, defocus …).
        ValueError
            If an argument is out of range, a value does not fit its column, or phase shifts
            would be lost.
        """
        table = convert.particles_to_par(self.star, self._key(particleKey), mag=mag,
                                         pixelsize=pixelsize, layout=layout)
        return convert.save_par_files(outputPrefix, table, N_classes, seed)

    def savePar(self, outputName: str | os.PathLike[str], index: int = -1) -> None:
        """Write a table of `par` in the columns of the program that it came from.

        Parameters
        ----------
        outputName : str or os.PathLike
            The file to write.
        index : int, optional
            Which table of `par`; the last one loaded.

        Raises
        ------
        MissingColumnError
            If its columns are those of no program.
        ValueError
            If a value does not fit its column.
        """
        par.write_par(outputName, self.par[index])

    def saveCtfImagesStar(
            self, outputName: str | os.PathLike[str],
            zorroList: str | os.PathLike[str]
            | Iterable[str | os.PathLike[str]] = "*.dm4.log",
            physicalPixelSize: float = 5.0,
            amplitudeContrast: float = 0.08) -> None:
        """Write the micrographs of zorro logs with their CTF, ready for particle extraction.

        Parameters
        ----------
        outputName : str or os.PathLike
            The STAR file to write.
        zorroList : str or list of str, optional
            A glob pattern, or the logs.
        physicalPixelSize : float, optional
            The detector's pixel in micrometre.
        amplitudeContrast : float, optional
            Fraction of amplitude contrast, where the log has none.

        Raises
        ------
        FileNotFoundError
            If the pattern matches nothing.
        mrcz.errors.MRCFormatError
            If a log lacks calibration or CTF.
        """
        starwrite.write_star(outputName, micrographs.ctf_star_from_zorro(
            zorroList, physicalPixelSize, amplitudeContrast))

    def box2star(self, directory: str | os.PathLike[str] = ".", *,
                 shapeImage: tuple[int, int] | None = None) -> list[str]:
        """Write each EMAN .box file of a directory as a .star file of the boxes' centres.

        Boxes that reach over the micrograph's edge are dropped, and their number is logged.

        Parameters
        ----------
        directory : str or os.PathLike, optional
            Where the .box files are; the .star files are written beside them.
        shapeImage : (int, int), optional
            [y, x] of the micrographs in pixels. By default it is read from the micrograph of
            the same name in the directory; where there is none, only boxes below 0 are dropped.

        Returns
        -------
        list of str
            The files written.

        Raises
        ------
        FileNotFoundError
            If there is no .box file.
        mrcz.errors.MRCFormatError
            If a .box file is malformed.
        """
        written = []
        for name in sorted(Path(directory).glob("*.box")):
            shape = _micrograph_shape(name) if shapeImage is None else shapeImage
            target = name.with_suffix(".star")
            kept, dropped = _box.box_to_star(name, target, shape)
            log.info("%s: %d boxes kept, %d over the edge", name, kept, dropped)
            written.append(str(target))
        if not written:
            raise FileNotFoundError(f"no .box file in {os.fspath(directory)!r}")
        return written

    def _key(self, particle_key: str | bytes, *others: str) -> str:
        if particle_key in ("data_", b"data_"):
            others = (PARTICLES, *others)
        return find_block(self.star, particle_key, *others)


def _micrograph_shape(box_file: Path) -> tuple[int, int] | None:
    """Return [y, x] of the micrograph beside a .box file, or None without one."""
    for suffix in _MICROGRAPH_SUFFIXES:
        micrograph = box_file.with_suffix(suffix)
        if micrograph.exists():
            from mrcz.ioMRC import readMRCHeader

            header, _ = readMRCHeader(str(micrograph))
            y, x = header["dimensions"][-2:]
            return int(y), int(x)
    return None
