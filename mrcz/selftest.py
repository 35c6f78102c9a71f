"""Running the package's own tests."""

from __future__ import annotations

__all__ = ["test"]


def test(verbosity: int = 2) -> int:
    """Run the tests that are installed with the package.

    With pytest (``pip install mrcz[test]``) the whole suite; without it a round trip
    of every pixel type and codec, by unittest alone.

    Parameters
    ----------
    verbosity : int
        0 quiet, 1 a dot a test, 2 a line a test.

    Returns
    -------
    int
        0 if everything passed.
    """
    try:
        import pytest
    except ImportError:
        return _run_unittest(verbosity)
    flags = ["-q"] if verbosity < 1 else ["-v"] if verbosity > 1 else []
    return int(pytest.main(["--pyargs", "mrcz.tests", "-p", "no:cacheprovider", *flags]))


def _run_unittest(verbosity: int) -> int:
    import unittest

    suite = unittest.defaultTestLoader.loadTestsFromName("mrcz.tests.test_selftest")
    result = unittest.TextTestRunner(verbosity=verbosity).run(suite)
    print("pytest is not installed: this was the short test; pip install mrcz[test] "  # noqa: T201
          "for the whole suite")
    return 0 if result.wasSuccessful() else 1
