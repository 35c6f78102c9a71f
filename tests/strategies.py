"""Hypothesis strategies: images of every dtype, shape, memory order and container."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

DTYPES = ("i1", "i2", "u2", "i4", "u4", "f2", "f4", "c8")
CODECS = (None, "blosclz", "lz4", "lz4hc", "zlib", "zstd")
BLOSC_CODECS = CODECS[1:]


def dtypes() -> st.SearchStrategy[np.dtype]:
    """Every dtype that is written as it is, in both byte orders."""
    return st.builds(lambda name, order: np.dtype(name).newbyteorder(order),
                     st.sampled_from(DTYPES), st.sampled_from("<>"))


def _lay_out(image: np.ndarray, layout: str) -> np.ndarray:
    """The same pixels in memory otherwise."""
    if layout == "F":
        return np.asfortranarray(image)
    if layout == "strided":
        wide = np.zeros((*image.shape[:-1], image.shape[-1] * 2), image.dtype)
        wide[..., ::2] = image
        return wide[..., ::2]
    if layout == "reversed":
        backwards = (slice(None, None, -1),) * image.ndim
        return np.ascontiguousarray(image[backwards])[backwards]
    if layout == "unaligned":
        flat = np.zeros(image.nbytes + 1, "u1")
        view = flat[1:].view(image.dtype).reshape(image.shape)
        view[...] = image
        return view
    image = image.copy()
    image.setflags(write=False)
    return image


@st.composite
def arrays(draw: st.DrawFn, min_dims: int = 1, max_dims: int = 3,
           dtype: st.SearchStrategy[Any] | None = None) -> np.ndarray:
    """An array of any content (NaN payloads, -0.0 and all) and memory layout."""
    kind = np.dtype(draw(dtype if dtype is not None else dtypes()))
    shape = draw(hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, max_side=19))
    raw = draw(st.binary(min_size=1, max_size=64))
    size = int(np.prod(shape)) * kind.itemsize
    image = np.frombuffer((raw * (size // len(raw) + 1))[:size], kind).reshape(shape)
    return _lay_out(image, draw(st.sampled_from(("C", "F", "strided", "reversed", "unaligned"))))


@st.composite
def containers(draw: st.DrawFn) -> Any:
    """Anything that may be given to writeMRC as an image: arrays, lists, tuples, 4-D."""
    kind = draw(st.sampled_from(("array", "list", "tuple", "volumes", "4d")))
    if kind == "array":
        return draw(arrays())
    if kind == "4d":
        image = draw(arrays(min_dims=4, max_dims=4))
        return np.concatenate([image, image], axis=1)
    if kind == "volumes":
        image = draw(arrays(min_dims=4, max_dims=4))
        return list(np.concatenate([image, image], axis=1))
    image = draw(arrays(min_dims=3, max_dims=3))
    return (list if kind == "list" else tuple)(image)
