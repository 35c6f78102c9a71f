"""Fuzz the readers with damaged files: ``python utils/fuzz.py --count 5000 --seed 1``.

The nightly run is ``--count 200000 --seed $(date +%Y%m%d)``. Prints a JSON report; fails if
anything was found. A finding is tried again with its own ``--seed``, ``--start``, ``--count 1``
and the run's ``--target``.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.fuzzing import main

if __name__ == "__main__":
    sys.exit(main())
