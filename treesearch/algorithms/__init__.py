"""Search algorithms: one file each, on the seam of `treesearch.algorithms.base`."""
