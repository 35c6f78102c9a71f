"""A pytest plugin for RosettaSciIO's own tests: whatever they load, they load lazily."""

import hyperspy.api as hs

_load = hs.load
_lazy = []


def _load_lazily(*args, **kwargs):
    signal = _load(*args, **{**kwargs, "lazy": True})
    _lazy.append(signal._lazy)
    return signal


hs.load = _load_lazily


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line(f"loaded lazily: {sum(_lazy)} of {len(_lazy)}")
