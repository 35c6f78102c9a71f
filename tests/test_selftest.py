"""The short test of an installation: every pixel type and codec, by unittest alone."""

import io
import unittest

import numpy as np

import mrcz

DTYPES = ("int8", "int16", "uint16", "int32", "uint32", "float16", "float32", "complex64")
CODECS = ("blosclz", "lz4", "lz4hc", "zlib", "zstd", "auto")
COMPRESSORS = (None, *(CODECS if mrcz.CAN_COMPRESS else ()))


class RoundTrip(unittest.TestCase):
    def test_every_dtype_and_compressor(self) -> None:
        random = np.random.default_rng(0)
        for dtype in DTYPES:
            stack = random.poisson(3, (5, 31, 40)).astype(dtype)
            if stack.dtype.kind == "c":
                stack *= 1 + 2j
            for compressor in COMPRESSORS:
                with self.subTest(dtype=dtype, compressor=compressor):
                    file = io.BytesIO()
                    mrcz.writeMRC(stack, file, meta={"dose": 1.5}, compressor=compressor)
                    file.seek(0)
                    read, header = mrcz.readMRC(file)
                    self.assertEqual(read.dtype, stack.dtype)
                    self.assertEqual(read.tobytes(), stack.tobytes())
                    self.assertEqual(header["dose"], 1.5)


if __name__ == "__main__":
    unittest.main()
