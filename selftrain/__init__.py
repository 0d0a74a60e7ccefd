"""Self-training: from searched trees to training data, to a trained model, to a gate, to the next iteration.

What is here so far is training on packed trees: `selftrain.packing` runs a searched tree as one row and gives
the log-probability of every edge, `selftrain.losses` makes losses of these. Builders of data, the trainer
around them and the loop are not here yet.

It may import `treesearch`, `prm` and `tasks`, and none of them imports it.
"""
