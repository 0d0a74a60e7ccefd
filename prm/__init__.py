"""Process-reward and Q-value models: scoring conventions, labels from trees, training, evaluation.

- `prm.conventions`: how a published model is asked and read; `prm.registry` opens one by name;
- `prm.scoring`: back ends, transformers and vLLM; `prm.values`: models as value sources of a search;
- `prm.labels`: step labels by Monte-Carlo, OmegaPRM or out of searched trees; formats;
- `prm.training`: heads, losses, trainer; `prm.checkpoint`: the folder of a trained model;
- `prm.calibration`: maps from a score to a probability; `prm.calibrate`: a trained model given a new one;
- `prm.evaluation`: benchmarks, discrimination and calibration by depth, canaries;
- `prm.steering`: a value inside the sampling of tokens.

It may import `treesearch` and `tasks`; neither of them imports it: they find it by name.
"""
