"""Small files as RELION, Frealign, cisTEM, EMAN and zorro write them."""

from pathlib import Path

import numpy as np

DATA = Path(__file__).parent / "data"
STARS = {name: (DATA / f"{name}.star").read_text()
         for name in ("relion30", "relion31", "relion5", "model")}
RELION_30, RELION_31, RELION_5, MODEL = STARS.values()
POSTPROCESS = (DATA / "postprocess.star").read_text()
ZORRO = (DATA / "zorro.dm4.log").read_text()  # with %s for the amplitude contrast

_PAR_9 = ("%7d" + 3 * "%8.2f" + 2 * "%10.2f" + "%8d%6d" + 2 * "%9.1f" + 2 * "%8.2f"
          + "%10d%11.4f" + 2 * "%8.2f" + "\n")
_PAR_X = _PAR_9.replace("%10d", "%8.2f%10d")

#: Written with the format of the program. The angles of the second row touch, the shift of the
#: third has overflowed, as gfortran prints it.
FREALIGN_9 = (
    "C           PSI   THETA     PHI       SHX       SHY     MAG  FILM      DF1      DF2  ANGAST"
    "     OCC      LogP      SIGMA   SCORE  CHANGE\n"
    + _PAR_9 % (1, 30, 20, 10, 1.5, -2.5, 37037, 1, 11000, 10800, 40, 100, -1234, 0.5, 12.34, 0)
    + _PAR_9 % (2, -179.99, -100, -359.99, -1234.56, 9999.99, 37037, 123, 21000.5, 20800.5, -40,
                12.5, -12345678, 1.2345, 99.99, -1.25)
    + (_PAR_9 % (3, 0, 0, 0, 111111.11, 0, 37037, 124, 21000.5, 20800.5, -40, 87.5, 12, 123.4567,
                 0, 0.01)).replace(" 111111.11", 10 * "*")
    + "C  NO. RESOL  RING RAD   FSPR    FSC   QFACT\nC   2  398.1    0.0078   0.00  0.997   0.971\n"
)

#: The same with PSHIFT (F8.2) after ANGAST; the first angles touch each other.
CISTEM = (
    "C           PSI   THETA     PHI       SHX       SHY     MAG  FILM      DF1      DF2  ANGAST"
    "  PSHIFT     OCC      LogP      SIGMA   SCORE  CHANGE\n"
    + _PAR_X % (1, -170.79, -126.01, -139.8, 0, 0, 48450, 1, 4107, 2889, -55, 90, 100, 0, 10, 0, 0)
    + _PAR_X % (2, 4.04, 92.07, 58.12, 12.3, -45.6, 48450, 1, 4107, 2889, -55, 0, 100, -17, 10,
                23.45, 1.5)
)

_PAR_8 = "%7d" + 5 * "%8.2f" + "%7.0f.%6d" + 2 * "%9.1f" + "%8.2f%7.2f%8.2f\n"
FREALIGN_8 = _PAR_8 % (1, 10, 20, 30, 1, -2, 60000, 1, 10000, 11000, 45, 60, 0.1)

_PAR_90 = ("%7d" + 3 * "%8.2f" + 2 * "%10.2f" + "%8d%6d" + 2 * "%9.1f" + 2 * "%8.2f"
           + "%13d" + 2 * "%8.2f" + "\n")
FREALIGN_90 = _PAR_90 % (1, 10, 20, 30, 1, -2, 60000, 1, 10000, 11000, 45, 100, 5000, 60, 0.1)


def gctf_micrographs(n: int = 200, seed: int = 1) -> str:
    """A micrographs_all_gctf.star of RELION 3.0."""
    random = np.random.default_rng(seed)
    u = random.uniform(5000, 60000, n)
    rows = zip(u, u - random.uniform(-1500, 1500, n), random.uniform(0, 180, n),
               random.uniform(-0.05, 0.2, n), random.uniform(2.5, 10, n), strict=True)
    head = ("\ndata_\n\nloop_ \n_rlnMicrographName #1 \n_rlnCtfImage #2 \n_rlnDefocusU #3 \n"
            "_rlnDefocusV #4 \n_rlnDefocusAngle #5 \n_rlnCtfFigureOfMerit #6 \n"
            "_rlnFinalResolution #7 \n")
    return head + "".join(
        f"m{i:03d}.mrc m{i:03d}.ctf:mrc {' '.join(f'{v:12.6f}' for v in row)} \n"
        for i, row in enumerate(rows)) + " \n"
