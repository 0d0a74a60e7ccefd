"""Self-training: from searched trees to training data, to a trained model, to a gate, to the next iteration.

`builders` make training data of searched trees (`data` holds its records and exports), `training` trains on
packed trees (`packing`: a tree is one row; `losses`), `decontamination`, `quarantine` and `monitors` watch
over what is trained on, and `loop` does all of it again and again, with a gate.

It may import `treesearch`, `prm` and `tasks`, and none of them imports it.
"""
