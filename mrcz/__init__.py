"""Read and write MRC and MRCZ electron-microscopy files."""
