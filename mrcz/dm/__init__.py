"""Gatan's DM3 and DM4 files: their tags, and the images in them."""
