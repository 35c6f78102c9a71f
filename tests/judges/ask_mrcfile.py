"""Driver, run by a Python that has mrcfile: do the jobs on stdin, answer on stdout."""

import io
import json
import sys
import warnings

import mrcfile
import numpy as np


def do(job, number, folder):
    if job["do"] == "validate":
        said = io.StringIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # mrcfile's own, of complex statistics
            valid = mrcfile.validate(job["path"], print_file=said)
        return {"valid": valid, "said": said.getvalue().splitlines()[1:]}
    if job["do"] == "write":
        with mrcfile.new(job["path"], compression=job.get("compression")) as file:
            file.set_data(np.load(job["array"]))
            if job.get("stack"):
                file.set_image_stack()
            file.voxel_size = tuple(job["voxel"])
            for name, value in job.get("fields", {}).items():
                file.header[name] = value
            if "exttyp" in job:
                file.set_extended_header(np.frombuffer(b"x" * job["extended"], "V1"))
                file.header.exttyp = job["exttyp"]
        return {}
    if job.get("permissive"):
        warnings.simplefilter("ignore")
    with mrcfile.open(job["path"], permissive=job.get("permissive", False)) as file:
        path = f"{folder}/answer{number}.npy"
        np.save(path, file.data)
        return {"array": path, "voxel": [float(file.voxel_size[axis]) for axis in "zyx"],
                "kind": [bool(is_kind()) for is_kind in (
                    file.is_single_image, file.is_image_stack, file.is_volume,
                    file.is_volume_stack)],
                "stats": [float(file.header[key]) for key in ("dmin", "dmax", "dmean", "rms")],
                "nversion": int(file.header.nversion),
                "labels": [str(label) for label in file.get_labels()],
                "extended": int(file.header.nsymbt)}


def main():
    warnings.simplefilter("error")
    answers = []
    for number, job in enumerate(json.load(sys.stdin)):
        try:
            answers.append(do(job, number, sys.argv[1]))
        except Exception as error:
            answers.append({"error": repr(error)})
    print(json.dumps(answers))


main()
