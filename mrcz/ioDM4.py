"""Reading Gatan DigitalMicrograph files, versions 3 and 4 (``.dm3``, ``.dm4``)."""

from __future__ import annotations

import os
from typing import Any

from . import futures
from .dm.array import DMArray
from .dm.image import DMImage, find_images
from .dm.tags import TagParser

__all__ = ["DMArray", "DMImage", "asyncReadDM4", "async_read_dm4", "readDM4", "read_dm4"]


class readDM4(TagParser):  # noqa: N801
    """Read a Gatan DM4 or DM3 file: its tags at once, its pixels when they are used.

    Parameters
    ----------
    filename : str or os.PathLike
        The file.
    verbose : bool, optional
        Log each tag, at level INFO of the logger ``mrcz.dm.tags``.
    flip : bool, optional
        Turn the rows of images of two and more dimensions, ``[..., ::-1, :]``: the files
        begin with the uppermost row, MRC begins with the lowest.  False gives the file's
        own order.
    permissive : bool, optional
        Keep what can be read of a damaged file, with a `RuntimeWarning`, rather than raise.

    Attributes
    ----------
    im : list of DMImage
        The images; the first is usually a thumbnail of the second.
    tags : dict
        All tags: directories are dicts, or lists where their entries have no names;
        structs are tuples and arrays are lists; large arrays, and the pixels of images,
        are `mrcz.ioDM4.DMArray`, which stay in the file.
    version : int
        3 or 4; with ``permissive=True`` 0, if the file is cut before it.
    order : str
        ``'<'`` or ``'>'``: the byte order of the file's values.
    damage : list of MRCFormatError
        What was wrong with a file that was read with ``permissive=True``: the first 100
        places.
    f : None
        The file is not held open.

    Raises
    ------
    MRCTruncatedError
        If the file ends before its tags do.
    MRCFormatError
        If it is no such file, or damaged; the message names the tag and its offset.
    OSError
        If it can't be read.

    Examples
    --------
    The least file there can be: one tag, no image.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "answer.dm3")
    >>> with open(path, "wb") as file:
    ...     _ = file.write(bytes.fromhex("00000003 00000023 00000001 0100 00000001 15 0006")
    ...                    + b"Answer%%%%" + bytes.fromhex("00000001 00000003 2a000000")
    ...                    + bytes(8))
    >>> dm = readDM4(path)
    >>> dm.tags, dm.im
    ({'Answer': 42}, [])
    """

    def __init__(self, filename: str | os.PathLike[str], verbose: bool = False, *,
                 flip: bool = True, permissive: bool = False) -> None:
        super().__init__(filename, verbose, permissive=permissive)
        self.im: list[DMImage] = find_images(self.tags, order=self.order, flip=flip,
                                             permissive=permissive)

    def __repr__(self) -> str:
        return f"<DM{self.version} file {self.filename!r} of {len(self.im)} images>"


def asyncReadDM4(filename: str | os.PathLike[str], *args: Any,  # noqa: N802
                 **kwargs: Any) -> futures.Future[readDM4]:
    """Read a Gatan file in the background.

    Parameters
    ----------
    filename : str or os.PathLike
        The file.
    *args, **kwargs
        As `readDM4`.

    Returns
    -------
    concurrent.futures.Future
        Its ``result()`` is what `readDM4` returns.

    Examples
    --------
    >>> asyncReadDM4("none.dm4").exception()
    FileNotFoundError(2, 'No such file or directory')
    """
    return futures.submit_on_file(readDM4, 0, "filename", (filename, *args), kwargs)


read_dm4 = readDM4
async_read_dm4 = asyncReadDM4
