"""Language-model back ends, on the seam of `treesearch.engines.base`."""
