"""Evaluation of process-reward models: benchmarks, best-of-N curves, calibration, canaries.

`run_bench` runs a bench by name, from a `StepScorer` or from published scores, and returns its report as
JSON data; `search prm eval` is the same from the command line. The parts are for other uses: exact
expectations over subsets (`prm.evaluation.subsets`), AUROC with intervals, calibration. Importing this loads
no model library.
"""

from __future__ import annotations

from prm.evaluation.bench import BENCHES, Bench, BenchOptions, check_inputs, run_bench
from prm.evaluation.calibration import Bin, brier, calibration_error, reliability
from prm.evaluation.canaries import CANARIES, MASTER_KEYS, Canary, Target
from prm.evaluation.discrimination import auroc, auroc_interval
from prm.evaluation.processbench import CheckedSolution, Predicted, choose_threshold, read_processbench
from prm.evaluation.scoring import score_all
from prm.evaluation.subsets import majority, pass_at_n, weighted_majority

__all__ = [
    "BENCHES",
    "CANARIES",
    "MASTER_KEYS",
    "Bench",
    "BenchOptions",
    "Bin",
    "Canary",
    "CheckedSolution",
    "Predicted",
    "Target",
    "auroc",
    "auroc_interval",
    "brier",
    "calibration_error",
    "check_inputs",
    "choose_threshold",
    "majority",
    "pass_at_n",
    "read_processbench",
    "reliability",
    "run_bench",
    "score_all",
    "weighted_majority",
]
