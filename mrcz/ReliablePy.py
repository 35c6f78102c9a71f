"""RELION, Frealign/cisTEM and EMAN metadata in one object.

::

    from mrcz.ReliablePy import ReliablePy

    rln = ReliablePy("run_data.star", "run_model.star")
    rln.star["data_particles"]["DefocusU"].mean()

``import mrcz`` does not import this module: it needs the packages of ``mrcz[relion]``.
"""
# ruff: noqa: N802, N803  (the names of methods and arguments are those of python-mrcz)

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import numpy as np

from mrcz.relion import masks, micrographs, particles, plots
from mrcz.relion.blocks import MissingColumnError, StarBlock, find_block, select_rows
from mrcz.relion.files import MICROGRAPHS, PARTICLES, MetadataFiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["MissingColumnError", "ReliablePy", "StarBlock"]

log = logging.getLogger("mrcz.ReliablePy")


class ReliablePy(MetadataFiles):
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
    >>> import os, tempfile
    >>> rln = ReliablePy()
    >>> rln.star["data_"] = {"CoordinateX": np.array([10.0, 900.0]),
    ...                      "CoordinateY": np.array([10.0, 800.0])}
    >>> rln.pruneParticlesNearImageEdge(box=256)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     name = os.path.join(folder, "pruned.star")
    ...     rln.saveDataStar(name)
    ...     again = ReliablePy(name)
    >>> again.star
    {'data_': {'CoordinateX': array([900.]), 'CoordinateY': array([800.])}}
    """

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
        key = find_block({name: self.star[name] for name in loaded}, "data_", MICROGRAPHS,
                         PARTICLES)
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
            As of `plotFSC`.

        Returns
        -------
        Figure, Axes

        Raises
        ------
        MissingColumnError
            If no class is loaded.
        """
        return plots.plot_ssnr(self.star, ax)
