"""Value sources of the search that come from models, on the seam of `treesearch.values.base`."""
