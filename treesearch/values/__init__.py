"""Value sources, on the seam of `treesearch.values.base`."""
