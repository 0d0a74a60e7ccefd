"""Step labels: records with counts, what derives from them, and the builders that sample them.

`run_labels` labels problems or the trees of a run into a file of `StepRecord`s; `search prm label` is the
same from the command line. `label_rows` and `sibling_pairs` turn records into what training reads. Importing
this loads no model library.
"""

from __future__ import annotations

from prm.labels.builder import Output, Progress
from prm.labels.completer import Completer, Outcome, PolicyCompleter
from prm.labels.derive import RULES, RuleOptions, dual_sided, first_error, hard, label_rows, soft
from prm.labels.judge import Consensus, consensus, judge_labels, judge_records
from prm.labels.montecarlo import MonteCarlo, estimate, label_monte_carlo
from prm.labels.omega import FirstError, Omega, OmegaTree, label_omega
from prm.labels.pairs import sibling_pairs
from prm.labels.quality import quality_values, step_quality, tree_quality
from prm.labels.record import StepRecord
from prm.labels.rows import write_pairs, write_rows
from prm.labels.session import METHODS, LabelConfig, LabelPlan, prepare_labels, run_labels
from prm.labels.store import RecordFile, merged, read_records, write_records
from prm.labels.trees import run_trees, tree_chains, tree_records

__all__ = [
    "METHODS",
    "RULES",
    "Completer",
    "Consensus",
    "FirstError",
    "LabelConfig",
    "LabelPlan",
    "MonteCarlo",
    "Omega",
    "OmegaTree",
    "Outcome",
    "Output",
    "PolicyCompleter",
    "Progress",
    "RecordFile",
    "RuleOptions",
    "StepRecord",
    "consensus",
    "dual_sided",
    "estimate",
    "first_error",
    "hard",
    "judge_labels",
    "judge_records",
    "label_monte_carlo",
    "label_omega",
    "label_rows",
    "merged",
    "prepare_labels",
    "quality_values",
    "read_records",
    "run_labels",
    "run_trees",
    "sibling_pairs",
    "soft",
    "step_quality",
    "tree_chains",
    "tree_quality",
    "tree_records",
    "write_pairs",
    "write_records",
    "write_rows",
]
