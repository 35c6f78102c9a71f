"""Files that are not MRC at all: what else they look like, for the error to say."""

from __future__ import annotations

__all__ = ["kind_of"]

_KINDS = (
    (b"\x00\x00\x00\x03\x00", "a DM3 file: mrcz.readDM4 reads it"),
    (b"\x00\x00\x00\x04\x00", "a DM4 file: mrcz.readDM4 reads it"),
    (b"II*\x00", "a TIFF file: mrcz convert reads it"),
    (b"MM\x00*", "a TIFF file: mrcz convert reads it"),
    (b"II+\x00", "a BigTIFF or EER file: mrcz convert reads it"),
    (b"MM\x00+", "a BigTIFF file: mrcz convert reads it"),
    (b"\x93NUMPY", "a NumPy file: numpy.load reads it"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x28\xb5\x2f\xfd", "a file packed by zstd: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x00\x05\x16\x07", "what macOS keeps beside a file (AppleDouble): the file is called so "
                         "without ._ at its beginning"),
    (b"version https://git-lfs", "a pointer of Git LFS: git lfs pull fetches the file"),
    (b"%PDF-", "a PDF document"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
    (b"<?xml", "an XML file"),
)
"""First bytes, and what a file is that begins with them; asked only where MRC makes no sense."""


def kind_of(head: bytes) -> str | None:
    """Return what a file is that can't be parsed as MRC, if its first bytes tell.

    Examples
    --------
    >>> kind_of(b"%PDF-1.7")
    'a PDF document'
    """
    return next((kind for magic, kind in _KINDS if head.startswith(magic)), None)
