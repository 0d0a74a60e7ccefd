"""Process-reward and Q-value models: scoring conventions, labels from trees, training, evaluation.

This version holds nothing to use yet. What is here will plug into `treesearch` as a value source, on the
seam of `treesearch.values.base`; it may import `treesearch` and `tasks`, and neither of them imports it.
"""
