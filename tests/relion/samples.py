"""Small files as RELION, Frealign, cisTEM, EMAN and zorro write them."""

import numpy as np

RELION_30 = """
data_

loop_ 
_rlnMicrographName #1 
_rlnCoordinateX #2 
_rlnCoordinateY #3 
_rlnImageName #4 
_rlnDefocusU #5 
_rlnDefocusV #6 
_rlnDefocusAngle #7 
_rlnVoltage #8 
_rlnSphericalAberration #9 
_rlnAmplitudeContrast #10 
_rlnMagnification #11 
_rlnDetectorPixelSize #12 
_rlnAngleRot #13 
_rlnAngleTilt #14 
_rlnAnglePsi #15 
_rlnOriginX #16 
_rlnOriginY #17 
_rlnGroupNumber #18 
_rlnGroupName #19 
_rlnLogLikeliContribution #20 
_rlnClassNumber #21 
mic/a.mrc   100.000000    50.000000 000001@Extract/a.mrcs 11000.500000 10800.250000    40.125000   300.000000     2.700000     0.100000 37037.000000     5.000000    10.500000    20.250000   -30.750000     1.500000    -2.250000            1 001 8.123457e+05            1 
mic/a.mrc  3500.000000  3700.000000 000002@Extract/a.mrcs 11000.500000 10800.250000    40.125000   300.000000     2.700000     0.100000 37037.000000     5.000000  -170.000000    90.000000   179.990000     0.000000     0.000000            1 001 8.123458e+05            2 
mic/b.mrc  1900.000000  1850.000000 000001@Extract/b.mrcs 21000.000000 20500.000000   -12.000000   300.000000     2.700000     0.100000 37037.000000     5.000000     0.000000     0.000000     0.000000    12.345678     0.000001            2 002 7.000000e+05            1 
 
"""

RELION_31 = """
# version 30001

data_optics

loop_ 
_rlnOpticsGroupName #1 
_rlnOpticsGroup #2 
_rlnMicrographOriginalPixelSize #3 
_rlnVoltage #4 
_rlnSphericalAberration #5 
_rlnAmplitudeContrast #6 
_rlnImagePixelSize #7 
_rlnImageSize #8 
_rlnImageDimensionality #9 
opticsGroup1            1     0.885000   200.000000     1.400000     0.100000     1.770000          128            2 
opticsGroup2            3     0.885000   200.000000     1.400000     0.100000     3.540000           64            2 
 

# version 30001

data_particles

loop_ 
_rlnCoordinateX #1 
_rlnCoordinateY #2 
_rlnClassNumber #3 
_rlnAnglePsi #4 
_rlnImageName #5 
_rlnMicrographName #6 
_rlnOpticsGroup #7 
_rlnDefocusU #8 
_rlnDefocusV #9 
_rlnDefocusAngle #10 
_rlnPhaseShift #11 
_rlnGroupNumber #12 
_rlnAngleRot #13 
_rlnAngleTilt #14 
_rlnOriginXAngst #15 
_rlnOriginYAngst #16 
  135.458824  2336.664720            1    85.339883 000001@Extract/job007/Movies/20170629_00021_particles.mrcs MotionCorr/job002/Movies/20170629_00021.mrc            1 10863.991211 10575.543945    78.297462     0.000000            1   142.625517    37.065672   -11.696200    -4.616200 
 3612.235315  2991.382371            1   132.965261 000002@Extract/job007/Movies/20170629_00021_particles.mrcs MotionCorr/job002/Movies/20170629_00021.mrc            3 10863.991211 10575.543945    78.297462     0.000000            1  -114.564840    67.158298     9.543798    -1.076200 
  900.000000  1000.000000            2     0.000000 000001@Extract/job007/Movies/20170629_00022_particles.mrcs MotionCorr/job002/Movies/20170629_00022.mrc            1 12000.000000 11000.000000    10.000000     0.000000            2     1.000000     2.000000     0.000000     0.500000 
 

"""

RELION_5 = """
# version 50001

data_general

_rlnTomoSubTomosAre2DStacks                       1
_rlnTomoTiltSeriesName          "tilt series 01"
 

# version 50001

data_optics

loop_ 
_rlnOpticsGroup #1 
_rlnOpticsGroupName #2 
_rlnVoltage #3 
_rlnImagePixelSize #4 
           1 opticsGroup1   300.000000     1.350000 
 

# version 50001

data_particles

loop_ 
_rlnTomoName #1 
_rlnCenteredCoordinateXAngst #2 
_rlnTomoVisibleFrames #3 
_rlnTomoParticleName #4 
_rlnOpticsGroup #5 
TS_01  -405.000000 [1,1,0,1] TS_01/1            1 
TS_01   202.500000 [1,1,1,1] TS_01/2            1 
 
"""

MODEL = """
# version 30001

data_model_general

_rlnReferenceDimensionality                        3
_rlnOriginalImageSize                            256
_rlnCurrentResolution                       6.350000
_rlnNrClasses                                      2
_rlnPixelSize                               1.350000
_rlnNormCorrectionAverage                   0.725441
_rlnSigmaOffsetsAngst                   1.234568e-07
 

# version 30001

data_model_classes

loop_ 
_rlnReferenceImage #1 
_rlnClassDistribution #2 
_rlnEstimatedResolution #3 
Class3D/job1/run_it025_class001.mrc     0.600000     6.350000 
Class3D/job1/run_it025_class002.mrc     0.400000          inf 
 

# version 30001

data_model_class_1

loop_ 
_rlnSpectralIndex #1 
_rlnResolution #2 
_rlnAngstromResolution #3 
_rlnSsnrMap #4 
_rlnGoldStandardFsc #5 
           0     0.000000   999.000000   100.000000     1.000000 
           1     0.005787   172.800000    50.000000     0.990000 
           2     0.011574    86.400000     2.000000     0.500000 
           3     0.017361    57.600000     0.000000     0.010000 
 

# version 30001

data_model_class_2

loop_ 
_rlnSpectralIndex #1 
_rlnResolution #2 
_rlnAngstromResolution #3 
_rlnSsnrMap #4 
_rlnGoldStandardFsc #5 
           0     0.000000   999.000000   100.000000     1.000000 
           1     0.005787   172.800000    40.000000     0.900000 
           2     0.011574    86.400000     1.000000     0.200000 
           3     0.017361    57.600000     0.500000     0.100000 
 

# version 30001

data_model_groups

loop_ 
_rlnGroupNumber #1 
_rlnGroupName #2 
_rlnGroupNrParticles #3 
_rlnGroupScaleCorrection #4 
           1 001            2     0.900000 
           2 002            1     1.100000 
 

data_model_pdf_orient_class_1

"""

STARS = {"relion30": RELION_30, "relion31": RELION_31, "relion5": RELION_5, "model": MODEL}

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

ZORRO = """\
[initialization]
METAstatus = fini
# METAstatus _MUST_ appear as second line in file
verbose = 0

[calibration]
# Pixel size in nanometers
pixelsize = 0.1326
# Accelerating voltage in kV
voltage = 300.0
C3 = 2.7
gain = 1.0

[ctf]
CTFProgram = gctf,sum
CTFInfo = {"DefocusU": 13500.5, "DefocusV": 13200.25, "DefocusAngle": 33.5, "CtfFigureOfMerit": 0.12, "FinalResolution": 3.9, "AmplitudeContrast": %s, "AdditionalPhaseShift": null}

[io]
files = {"stack": "raw/a.dm4", "sum": "sum/a_zorro.mrc", "filt": "filt/a_filt.mrc"}
"""


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
