"""RELION, Frealign/cisTEM and EMAN metadata: the rooms behind `mrcz.ReliablePy`.

::

    mrcz/ReliablePy.py   the public class
      files              load by suffix, save
      convert            STAR particles -> Frealign .par
      particles          prune, regroup        micrographs   Gctf filter, zorro logs
      plots, masks       pictures, masks       box           EMAN .box, box -> STAR
        par              .par text <-> table
        star, starwrite  STAR text <-> blocks
          blocks         what a block is: names, types, particles and their optics groups

Nothing here is imported by ``import mrcz``; the packages come with ``mrcz[relion]``.
"""

from importlib.util import find_spec

_PACKAGES = {"pandas": "pandas", "scipy": "scipy", "sklearn": "scikit-learn",
             "matplotlib": "matplotlib"}
_missing = [package for module, package in _PACKAGES.items() if find_spec(module) is None]
if _missing:
    raise ImportError(
        f"mrcz.ReliablePy needs {', '.join(_missing)}: install them with "
        "'pip install mrcz[relion]'"
    )
