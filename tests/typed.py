"""What a type checker sees of the public names; ``mypy --strict`` reads this, nobody runs it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np

import mrcz
from mrcz.headerdict import HeaderDict
from mrcz.integrity import Finding
from mrcz.ioDM4 import DMImage, readDM4
from mrcz.plugins.batch import FileResult
from mrcz.salvage import RepairReport

if TYPE_CHECKING:
    from typing_extensions import assert_type


def names_and_types() -> Iterator[object]:
    yield assert_type(mrcz.readMRC("a.mrc", idx=3), tuple[Any, HeaderDict])
    yield assert_type(mrcz.readMRCHeader("a.mrc"), tuple[HeaderDict, int])
    yield assert_type(mrcz.read_mrc("a.mrc", out=np.zeros((3, 4))), tuple[Any, HeaderDict])
    mrcz.writeMRC(np.zeros((3, 4)), "b.mrcz", compressor="zstd", pixelsize=1.0, meta={"a": 1})
    yield assert_type(mrcz.asyncReadMRC("a.mrc"), Future[tuple[Any, HeaderDict]])
    yield assert_type(mrcz.asyncReadDM4("a.dm4"), Future[readDM4])
    with mrcz.open("a.mrc") as stack:
        yield assert_type(stack, mrcz.Stack)
        yield assert_type(stack.shape, tuple[int, ...])
    with mrcz.create("c.mrc", (None, 4, 5), "int16") as writer:
        yield assert_type(writer, mrcz.StackWriter)
        writer.append(np.ones((4, 5)))
    yield assert_type(mrcz.verify("a.mrc"), list[Finding])
    yield assert_type(mrcz.repair("a.mrc", "b.mrc"), RepairReport)
    yield assert_type(mrcz.compress_many(["a.mrc"]), list[FileResult])
    yield assert_type(mrcz.readDM4("a.dm4").im, list[DMImage])
    yield assert_type(mrcz.read_dm4("a.dm4"), readDM4)
    mrcz.from_dask(None, "a.mrc", compressor="lz4")
    try:
        mrcz.set_default_threads(None)
    except mrcz.MRCFormatError as error:
        yield assert_type(error.offset, int | None)
    mrcz.readMCR("a.mrc")  # type: ignore[attr-defined]  # a name misspelt is told
