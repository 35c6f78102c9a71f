"""Driver, run by a Python that has HyperSpy and our mrcz: do the jobs, answer on stdout."""

import json
import logging
import sys
import warnings

import hyperspy.api as hs
import numpy as np

import mrcz

warnings.simplefilter("ignore")


def do(job, number, folder):
    if job["do"] == "save":
        signal = hs.signals.Signal2D(np.load(job["array"]))
        signal.metadata.add_dictionary(job["metadata"])
        for axis, (scale, units, name) in zip(signal.axes_manager._axes, job["axes"],
                                              strict=True):
            axis.scale, axis.units, axis.name = scale, units, name
        signal.save(job["path"], overwrite=True, **job["options"])
        return {}
    signal = hs.load(job["path"], **job.get("options", {}))
    path = f"{folder}/answer{number}.npy"
    np.save(path, signal.data)
    return {"array": path, "metadata": signal.metadata.as_dictionary(),
            "original": sorted(signal.original_metadata.as_dictionary()),
            "axes": [[axis.scale, str(axis.units)] for axis in signal.axes_manager._axes]}


def main():
    logging.disable(logging.WARNING)
    if not mrcz.__version__.startswith("1."):
        raise SystemExit(f"this is mrcz {mrcz.__version__}, not ours")
    answers = []
    for number, job in enumerate(json.load(sys.stdin)):
        try:
            answers.append(do(job, number, sys.argv[1]))
        except Exception as error:
            answers.append({"error": repr(error)})
    print(json.dumps(answers, default=str))


main()
