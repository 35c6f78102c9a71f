"""The name that python-mrcz has for `mrcz.ioDM4`."""

from .ioDM4 import DMArray, DMImage, asyncReadDM4, readDM4

__all__ = ["DMArray", "DMImage", "asyncReadDM4", "readDM4"]
