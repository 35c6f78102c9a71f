"""What the tags of an image tell of it, under the short names of python-mrcz."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .array import DMArray

__all__ = ["entries_of", "find_tag", "image_info"]

AXES = "XYZTUVW"
"""Names of the axes, fastest first."""

# Where the facts are, below ImageTags; the first place that has one counts.  A star is any
# directory, as python-mrcz 0.6 has it; a trailing number picks an item of a struct.
_PLACES: dict[str, tuple[str, ...]] = {
    "HorzFlip": ("Acquisition:Device:Configuration:Transpose:Horizontal Flip",
                 "Acquisition:Device:*:*:Horizontal Flip"),
    "VertFlip": ("Acquisition:Device:Configuration:Transpose:Vertical Flip",
                 "Acquisition:Device:*:*:Vertical Flip"),
    "DiagFlip": ("Acquisition:Device:Configuration:Transpose:Diagonal Flip",
                 "Acquisition:Device:*:*:Diagonal Flip"),
    "DetectorPixelSize": ("Acquisition:Device:CCD:Pixel Size (um)",
                          "Acquisition:Device:*:Pixel Size (um)"),
    "Exposure": ("Acquisition:Parameters:High Level:Exposure (s)",
                 "Acquisition:Parameters:Detector:exposure (s)",
                 "Acquisition:Parameters:Detector:Exposure (s)",
                 "Acquisition:Parameters:Detector:Exposure",
                 "DataBar:Exposure Time (s)"),
    "HorzBin": ("Acquisition:Parameters:Detector:hbin",
                "Acquisition:Parameters:High Level:Binning:0"),
    "VertBin": ("Acquisition:Parameters:Detector:vbin",
                "Acquisition:Parameters:High Level:Binning:1"),
    "DoseRateCalibration": ("Calibration:Dose Rate:Calibration",
                            "Calibration:Dose rate:Calibration"),
    "ActualMag": ("Microscope Info:Actual Magnification",),
    "NominalMag": ("Microscope Info:Indicated Magnification",),
    "C3": ("Microscope Info:Cs(mm)",),
    "Voltage": ("Microscope Info:Voltage",),
    "MicroscopeMode": ("Microscope Info:Mode", "Microscope Info:Operation Mode"),
    "EELSSlitIn": ("EELS Spectrometer:Slit inserted",),
    "EELSSlitWidth": ("EELS Spectrometer:Slit width (eV)",),
    "EELSEnergyLoss": ("EELS Spectrometer:Energy loss (eV)",),
    "EELSApertureLabel": ("EELS Spectrometer:Aperture label",),
}
_FLAGS = frozenset({"HorzFlip", "VertFlip", "DiagFlip", "EELSSlitIn"})


def find_tag(tree: Any, path: str) -> Any:
    """Return the tag at `path`, as DigitalMicrograph writes it, or None.

    Examples
    --------
    >>> find_tag({"Device": {"Active Size": (3838, 3710)}}, "Device:Active Size:1")
    3710
    """
    return _follow(tree, path.split(":"))


def entries_of(directory: Any) -> list[Any]:
    """Return the entries of a list of the file, which may have names: they say nothing.

    Examples
    --------
    >>> entries_of([5, 7]), entries_of({"0": 5, "1": 7}), entries_of(None)
    ([5, 7], [5, 7], [])
    """
    if isinstance(directory, dict):
        return list(directory.values())
    return directory if isinstance(directory, list) else []


def _follow(tree: Any, names: list[str]) -> Any:
    for name in names:
        if isinstance(tree, dict):
            tree = tree.get(name)
        elif isinstance(tree, (list, tuple)) and name.isdecimal() and int(name) < len(tree):
            tree = tree[int(name)]
        else:
            return None
    return tree


def _find_all(tree: Any, names: list[str]) -> Iterator[Any]:
    """Yield the tags at a path in which a star is any directory."""
    if "*" not in names:
        yield _follow(tree, names)
        return
    star = names.index("*")
    parent = _follow(tree, names[:star])
    for child in parent.values() if isinstance(parent, dict) else ():
        yield from _find_all(child, names[star + 1:])


def image_info(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of an entry of the ImageList as python-mrcz names them.

    Parameters
    ----------
    entry : dict
        With the directories ImageData and, maybe, ImageTags.

    Returns
    -------
    dict
        Holds only what the file tells: units are str, numbers Python's.
    """
    info: dict[str, Any] = {}
    calibrations = find_tag(entry, "ImageData:Calibrations")
    _add_calibration(info, "Intensity", find_tag(calibrations, "Brightness"))
    axes = entries_of(find_tag(calibrations, "Dimension"))
    for name, axis in zip(AXES, axes, strict=False):
        _add_calibration(info, f"Dim{name}", axis)
    tags = entry.get("ImageTags")
    for key, places in _PLACES.items() if tags else ():  # thumbnails have none
        found = (value for place in places for value in _find_all(tags, place.split(":")))
        value = next((value for value in found if _is_value(value)), None)
        if value is not None:
            info[key] = bool(value) if key in _FLAGS else _as_plain(value)
    _add_latitude(info, tags)
    return info


def _add_calibration(info: dict[str, Any], prefix: str, calibration: Any) -> None:
    for name, kinds in (("Origin", (int, float)), ("Scale", (int, float)), ("Units", str)):
        value = find_tag(calibration, name)
        if isinstance(value, kinds):
            info[prefix + name] = value


def _add_latitude(info: dict[str, Any], tags: Any) -> None:
    """Add the values of Gatan's Latitude S, one key for each.

    python-mrcz 0.6 looks for these in the directory ``Latitude-S``; which of them it takes
    was not to be found out.
    """
    for group, values in tags.items() if isinstance(tags, dict) else ():
        if group.startswith("Latitude") and isinstance(values, dict):
            for name, value in values.items():
                if _is_value(value):
                    info["LatS" + re.sub(r"\W", "", name)] = _as_plain(value)


def _is_value(value: Any) -> bool:
    return value is not None and not isinstance(value, (dict, DMArray))


def _as_plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
