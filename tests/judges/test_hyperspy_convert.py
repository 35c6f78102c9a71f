"""`mrcz convert` of a file that HyperSpy alone reads."""

import numpy as np
import pytest

import mrcz

from .conftest import environment, run

pytestmark = pytest.mark.judge

SAVE = """
import sys
import numpy as np
import hyperspy.api as hs

signal = hs.signals.Signal2D(np.arange(60, dtype="float32").reshape(3, 4, 5))
for axis, scale in zip(signal.axes_manager.signal_axes, (0.2, 0.4)):
    axis.scale, axis.units = scale, "nm"
signal.save(sys.argv[1])
"""


def test_a_file_of_hyperspy(tmp_path):
    python = environment("MRCZ_JUDGE_HYPERSPY")
    source, target = str(tmp_path / "a.hspy"), str(tmp_path / "a.mrcz")
    done = run(python, "-c", SAVE, source)
    assert done.returncode == 0, done.stderr
    done = run(python, "-m", "mrcz", "convert", source, target, "--slice", "1:")
    assert done.returncode == 0, done.stderr
    image, header = mrcz.readMRC(target)
    np.testing.assert_array_equal(image, np.arange(60).reshape(3, 4, 5)[1:])
    assert header["pixelsize"] == pytest.approx([0, 4, 2])
    assert "General" in header["hyperspy"]


def test_what_nobody_reads_is_an_error(tmp_path):
    (tmp_path / "a.xyz").write_bytes(b"nothing" * 1000)
    done = run(environment("MRCZ_JUDGE_HYPERSPY"), "-m", "mrcz", "convert",
               str(tmp_path / "a.xyz"), str(tmp_path / "a.mrcz"))
    assert done.returncode == 1
    assert "no reader knows this file" in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["a.xyz"]
