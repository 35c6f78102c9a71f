"""The name that python-mrcz has for `mrcz.ioDM4`."""

from .ioDM4 import DMArray, DMImage, async_read_dm4, asyncReadDM4, read_dm4, readDM4

__all__ = ["DMArray", "DMImage", "asyncReadDM4", "async_read_dm4", "readDM4", "read_dm4"]
