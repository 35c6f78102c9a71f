"""Packaging of mrcz: what is installed, and which extras exist (docs/architecture.rst says why)."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = (HERE / "mrcz" / "__version__.py").read_text().split('"')[-2]

FEATURES = {
    "blosc2": ["blosc2>=2.5"],
    "dask": ["dask[array]", "distributed"],
    "view": ["matplotlib"],
    "tiff": ["tifffile", "imagecodecs"],
    "napari": ["npe2>=0.7", "dask[array]"],
    "xarray": ["xarray>=2024.1", "dask[array]"],
    "relion": ["starfile", "pandas", "scipy", "scikit-learn", "matplotlib"],
    "remote": ["fsspec[http]>=2023.1"],
}
TEST = ["pytest>=8", "hypothesis>=6.100"]
EXTRAS = {
    **FEATURES,
    "all": sorted({package for packages in FEATURES.values() for package in packages}),
    "test": TEST,
    "docs": ["sphinx>=7", "numpydoc", "furo", "sphinx-copybutton", "myst-nb",
             "matplotlib"],
    "dev": [*TEST, "ruff", "mypy", "pre-commit", *FEATURES["blosc2"], *FEATURES["dask"]],
}

setup(
    name="mrcz",
    version=VERSION,
    description="Read and write MRC and compressed MRCZ electron-microscopy files, and Gatan DM4",
    long_description=(HERE / "README.rst").read_text(encoding="utf-8"),
    long_description_content_type="text/x-rst",
    author="the mrcz developers",  # as in LICENSE; URLs follow when there are any
    keywords="MRC MRCZ DM4 cryo-EM electron microscopy compression blosc",
    license="BSD-3-Clause",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=[*find_packages(include=["mrcz", "mrcz.*"]), "mrcz.tests"],
    package_dir={"mrcz": "mrcz", "mrcz.tests": "tests"},
    package_data={"mrcz": ["py.typed", "napari.yaml", "data/*"],
                  "mrcz.tests": ["data/*", "data/*/*"]},
    install_requires=["numpy>=1.24", "blosc>=1.11", "python-rapidjson>=1.5", "xxhash>=3.0",
                      "tqdm>=4.60"],
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": ["mrcz = mrcz.cli:main"],
        "napari.manifest": ["mrcz = mrcz:napari.yaml"],
        "xarray.backends": ["mrcz = mrcz.plugins.xarray:MRCBackend"],
    },
    classifiers=[
        "Development Status :: 5 - Production/Stable",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Framework :: napari",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: Scientific/Engineering :: Image Processing",
        "Typing :: Typed",
    ],
)
