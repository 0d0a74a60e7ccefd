"""Self-training: from searched trees to training data, to a trained model, to a gate, to the next iteration.

This version holds nothing to use yet. What is here will read the trees that runs leave behind; it may import
`treesearch`, `prm` and `tasks`, and none of them imports it.
"""
