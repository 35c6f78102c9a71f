"""RELION, Frealign/cisTEM and EMAN metadata in one object.

>>> from mrcz.ReliablePy import ReliablePy                        # doctest: +SKIP
>>> rln = ReliablePy("run_data.star", "run_model.star")           # doctest: +SKIP
>>> rln.star["data_particles"]["DefocusU"].mean()                 # doctest: +SKIP
13243.7

``import mrcz`` does not import this module: it needs the packages of ``mrcz[relion]``.
"""
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
from mrcz.relion import convert, masks, micrographs, par, particles, plots, star, starwrite
from mrcz.relion.blocks import MissingColumnError, StarBlock, find_block, select_rows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["MissingColumnError", "ReliablePy", "StarBlock"]

log = logging.getLogger("mrcz.ReliablePy")

_PARTICLES = "data_particles"  # what RELION >= 3.1 calls the nameless block of 3.0
_MICROGRAPHS = "data_micrographs"
_MICROGRAPH_SUFFIXES = (".mrc", ".mrcz", ".mrcs")


class ReliablePy:
    """Metadata files of RELION, Frealign/cisTEM and EMAN, and what one does with them.

    Parameters
    ----------
    *files : str or os.PathLike
        Files or glob patterns to `load`.

    Attributes
    ----------
    star : dict of str to dict
        Block name (``data_``, ``data_particles``, ``data_model_general`` …) -> column name
        without ``_rln`` -> values: a 1-D array for each column of a ``loop_`` (int64, float64,
        or object for text), a plain int, float or str for each label-value line. Columns of
        other programs keep their prefix (``cisTEMAnglePsi``). Units are RELION's: defocus in
        Angstrom, angles in degrees, ``Voltage`` in kV, ``SphericalAberration`` in mm, pixel
        sizes in Angstrom but ``DetectorPixelSize`` in micrometre, ``OriginX`` in pixels and
        ``OriginXAngst`` in Angstrom.
    par : list of pandas.DataFrame
        One table a .par file; see `mrcz.relion.par.read_par` for columns and units.
    mrc : list of numpy.ndarray
        One array an MRC or MRCZ file, as `mrcz.readMRC` returns it.
    mrc_header : list of dict
        Their headers.
    box : list of numpy.ndarray
        One float64 array of rows ``x y width height`` in pixels an EMAN .box file.
    mask : numpy.ndarray or None
        The last result of `permissiveMask`.
    inputs : list of str
        The files loaded, in order.

    Examples
    --------
    >>> rln = ReliablePy("particles.star")                        # doctest: +SKIP
    >>> rln.pruneParticlesNearImageEdge(box=256)                  # doctest: +SKIP
    >>> rln.saveDataStar("particles_pruned.star")                 # doctest: +SKIP
    """

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
        key = self._key(particleKey, _MICROGRAPHS)
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

    # -- particles and micrographs -----------------------------------------------

    def pruneParticlesNearImageEdge(
            self, box: float | None = None,
            shapeImage: tuple[int, int] = (3838, 3710), *,
            particleKey: str | bytes = "data_") -> None:
        """Drop the particles whose box reaches over the edge of the micrograph.

        Parameters
        ----------
        box : float, optional
            The box's side in pixels of the micrograph. By default from the optics groups
            (ImageSize, scaled by the pixel sizes) or a loaded _model.star.
        shapeImage : (int, int), optional
            [y, x] of the micrographs in pixels; the default is a K2's, trimmed.
        particleKey : str, optional
            The block of the particles, as in `saveDataStar`.

        Raises
        ------
        MissingColumnError
            If coordinates or the box size are not known.
        ValueError
            If `box` is out of range.
        """
        key = self._key(particleKey)
        self.star[key] = particles.prune_near_edge(self.star, key, box, shapeImage)

    def regroupKmeans(self, partPerGroup: int = 100, miniBatch: bool = True, *,
                      particleKey: str | bytes = "data_",
                      seed: int | None = 0) -> None:
        """Group the particles by k-means on DefocusU, DefocusV and GroupScaleCorrection.

        Sets ``GroupNumber`` (from 1, without gaps) and ``GroupName``.

        Parameters
        ----------
        partPerGroup : int, optional
            Particles a group should have; outlying groups get fewer.
        miniBatch : bool, optional
            The faster, less exact method, for more than some 100,000 particles.
        particleKey : str, optional
            The block of the particles, as in `saveDataStar`.
        seed : int, optional
            The same seed gives the same groups.

        Raises
        ------
        MissingColumnError
            If a column is missing; the scale correction may come from a loaded _model.star.
        """
        key = self._key(particleKey)
        self.star[key] = particles.regroup(self.star, key, partPerGroup, miniBatch, seed)

    def gctfHistogramFilter(
            self, defocusThreshold: float = 40000, astigThreshold: float = 800,
            fomThreshold: float = 0.0, resThreshold: float = 6.0,
            starName: str | os.PathLike[str] = "micrographs_all_gctf.star",
            outName: str | os.PathLike[str] = "micrographs_pruned_gctf.star",
            ) -> tuple[Figure, np.ndarray]:
        """Drop the micrographs whose CTF fails any limit, and plot the histograms.

        The micrographs are loaded from `starName`; those kept are left in `star` and written
        to `outName`.

        Parameters
        ----------
        defocusThreshold : float, optional
            Largest mean defocus, Angstrom.
        astigThreshold : float, optional
            Largest difference of DefocusU and DefocusV, Angstrom.
        fomThreshold : float, optional
            Smallest figure of merit (CtfFigureOfMerit).
        resThreshold : float, optional
            Coarsest resolution limit (FinalResolution or CtfMaxResolution), Angstrom.
        starName, outName : str or os.PathLike, optional
            The file to read and the file to write.

        Returns
        -------
        Figure, ndarray of Axes
            The four histograms, with what was kept and the limits.

        Raises
        ------
        MissingColumnError
            If a column is missing.
        """
        self.load(starName)
        loaded = [name for name in self.star
                  if self._file_of_block.get(name) == os.fspath(starName)]
        key = find_block({name: self.star[name] for name in loaded}, "data_", _MICROGRAPHS,
                         _PARTICLES)
        values = micrographs.ctf_values(self.star, key)
        limits = micrographs.CtfLimits(defocusThreshold, astigThreshold, fomThreshold,
                                       resThreshold)
        kept = limits.accepted(values)
        self.star[key] = select_rows(self.star[key], kept)
        self.saveDataStar(outName, key)
        log.info("%d of %d micrographs kept", kept.sum(), len(kept))
        return plots.plot_ctf_histograms(values, limits)

    # -- maps --------------------------------------------------------------------

    def permissiveMask(self, volumeThres: float, gaussSigma: float = 5.0,
                       gaussRethres: float = 0.07,
                       smoothSigma: float = 1.5, *,
                       index: int = -1) -> np.ndarray:
        """Make a soft, dilated mask of a loaded map; it is also left in `mask`.

        Parameters
        ----------
        volumeThres : float
            A (tight) density threshold of the map, as one finds it in a viewer.
        gaussSigma : float, optional
            How far to dilate: sigma of the Gaussian in pixels.
        gaussRethres : float, optional
            Where to cut the blurred mask, of 1; lower dilates more.
        smoothSigma : float, optional
            Softness of the edge: sigma of the Gaussian in pixels.
        index : int, optional
            Which map of `mrc`; the last one loaded.

        Returns
        -------
        numpy.ndarray
            float32 in 0 to 1, of the map's shape.

        Raises
        ------
        ValueError
            If no map is loaded or nothing is above a threshold.
        """
        if not self.mrc:
            raise ValueError("load a map (.mrc, .mrcz) first")
        self.mask = masks.permissive_mask(self.mrc[index], volumeThres, gaussSigma, gaussRethres,
                                          smoothSigma)
        return self.mask

    # -- plots -------------------------------------------------------------------

    def plotFSC(self, *, ax: Axes | None = None) -> tuple[Figure, Axes]:
        """Plot the Fourier shell correlation, with the resolution at 0.143 of each curve.

        The curves are those of ``data_fsc`` in a loaded postprocess.star, else
        ``GoldStandardFsc`` of the classes in a _model.star.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw, instead of a new figure.

        Returns
        -------
        Figure, Axes

        Raises
        ------
        MissingColumnError
            If no FSC is loaded.
        """
        return plots.plot_fsc(self.star, ax)

    def plotSSNR(self, *, ax: Axes | None = None) -> tuple[Figure, Axes]:
        """Plot the spectral signal-to-noise ratio of each class of a loaded _model.star.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw, instead of a new figure.

        Returns
        -------
        Figure, Axes

        Raises
        ------
        MissingColumnError
            If no class is loaded.
        """
        return plots.plot_ssnr(self.star, ax)

    def _key(self, particle_key: str | bytes, *others: str) -> str:
        if particle_key in ("data_", b"data_"):
            others = (_PARTICLES, *others)
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
