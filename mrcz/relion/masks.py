"""Masks for 3-D refinement."""

from __future__ import annotations

import numpy as np

__all__ = ["permissive_mask"]


def permissive_mask(
    volume: np.ndarray, threshold: float, grow: float, rethreshold: float, smooth: float
) -> np.ndarray:
    """Return a soft mask around the density above `threshold`, made of Gaussians alone.

    The binary volume is blurred with sigma `grow` (pixels), cut at `rethreshold` (of 1), which
    dilates it, and blurred again with sigma `smooth` (pixels). A mask without hard edges has
    no ringing in Fourier space.

    Returns
    -------
    numpy.ndarray
        float32 in 0 to 1, of the volume's shape.

    Raises
    ------
    ValueError
        If no voxel is above a threshold.
    """
    from scipy.ndimage import gaussian_filter

    for name, sigma in (("gaussSigma", grow), ("smoothSigma", smooth)):
        if not 0 <= sigma < np.inf:
            raise ValueError(f"{name} must be a number of pixels of at least 0, not {sigma!r}")
    inside = np.asarray(volume) > threshold
    if not inside.any():
        raise ValueError(f"no voxel is above volumeThres = {threshold!r}; the largest is "
                         f"{np.max(volume)!r}")
    blurred = gaussian_filter(inside.astype(np.float32), grow)
    grown = blurred > rethreshold
    if not grown.any():
        raise ValueError(f"no voxel is above gaussRethres = {rethreshold!r}; the largest is "
                         f"{blurred.max():.4g}")
    soft: np.ndarray = gaussian_filter(grown.astype(np.float32), smooth)
    return np.asarray(np.clip(soft, 0.0, 1.0))
