"""Tree search for language-model reasoning: expand steps, score them, search under a budget.

    import treesearch as ts
    result = ts.solve("Solve for x: 3x + 5 = 2x + 17.", task="math", algorithm=ts.MCTS(width=4))
    print(result.answer, result.usage)

Importing this package loads no torch, transformers, vLLM or sympy; names are resolved on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.base import Grade, Problem, Task, Verdict
    from tasks.errors import DataError, MissingPrerequisiteError, SearchError, UsageError
    from treesearch.algorithms.adaptive import AdaptiveSelfConsistency
    from treesearch.algorithms.base import Algorithm
    from treesearch.algorithms.beam import Beam
    from treesearch.algorithms.best_first import BestFirst
    from treesearch.algorithms.dvts import DVTS
    from treesearch.algorithms.mcts import MCTS
    from treesearch.algorithms.rest_mcts import RestMCTS
    from treesearch.algorithms.sampling import BestOfN, Greedy, SelfConsistency
    from treesearch.api import Result, asolve, solve
    from treesearch.budget import Budget, Meter, Usage
    from treesearch.comparison.api import acompare, compare
    from treesearch.comparison.methods import Method
    from treesearch.comparison.session import Comparison
    from treesearch.engines.base import Engine, EngineError, FinishReason, Sample, SamplingParams
    from treesearch.engines.scripted import ScriptedEngine
    from treesearch.events import BackupRule, Step, StopReason
    from treesearch.export import load_trees, save_trees, to_graphml, to_networkx
    from treesearch.policies import open_policy
    from treesearch.policy import Policy, PolicyConfig
    from treesearch.tree import Node, Tree
    from treesearch.values.base import Score, Scores, Value
    from treesearch.values.free import LogProb, NoValue, SelfCertainty, Verifier
    from treesearch.values.rollout import RollOutValue

_HOME = {
    "tasks.base": ("Grade", "Problem", "Task", "Verdict"),
    "tasks.errors": ("DataError", "MissingPrerequisiteError", "SearchError", "UsageError"),
    "treesearch.algorithms.adaptive": ("AdaptiveSelfConsistency",),
    "treesearch.algorithms.base": ("Algorithm",),
    "treesearch.algorithms.beam": ("Beam",),
    "treesearch.algorithms.best_first": ("BestFirst",),
    "treesearch.algorithms.dvts": ("DVTS",),
    "treesearch.algorithms.mcts": ("MCTS",),
    "treesearch.algorithms.rest_mcts": ("RestMCTS",),
    "treesearch.algorithms.sampling": ("BestOfN", "Greedy", "SelfConsistency"),
    "treesearch.api": ("Result", "asolve", "solve"),
    "treesearch.budget": ("Budget", "Meter", "Usage"),
    "treesearch.comparison.api": ("acompare", "compare"),
    "treesearch.comparison.methods": ("Method",),
    "treesearch.comparison.session": ("Comparison",),
    "treesearch.engines.base": ("Engine", "EngineError", "FinishReason", "Sample", "SamplingParams"),
    "treesearch.engines.scripted": ("ScriptedEngine",),
    "treesearch.events": ("BackupRule", "Step", "StopReason"),
    "treesearch.export": ("load_trees", "save_trees", "to_graphml", "to_networkx"),
    "treesearch.policies": ("open_policy",),
    "treesearch.policy": ("Policy", "PolicyConfig"),
    "treesearch.tree": ("Node", "Tree"),
    "treesearch.values.base": ("Score", "Scores", "Value"),
    "treesearch.values.free": ("LogProb", "NoValue", "SelfCertainty", "Verifier"),
    "treesearch.values.rollout": ("RollOutValue",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "DVTS",
    "MCTS",
    "AdaptiveSelfConsistency",
    "Algorithm",
    "BackupRule",
    "Beam",
    "BestFirst",
    "BestOfN",
    "Budget",
    "Comparison",
    "DataError",
    "Engine",
    "EngineError",
    "FinishReason",
    "Grade",
    "Greedy",
    "LogProb",
    "Meter",
    "Method",
    "MissingPrerequisiteError",
    "NoValue",
    "Node",
    "Policy",
    "PolicyConfig",
    "Problem",
    "RestMCTS",
    "Result",
    "RollOutValue",
    "Sample",
    "SamplingParams",
    "Score",
    "Scores",
    "ScriptedEngine",
    "SearchError",
    "SelfCertainty",
    "SelfConsistency",
    "Step",
    "StopReason",
    "Task",
    "Tree",
    "Usage",
    "UsageError",
    "Value",
    "Verdict",
    "Verifier",
    "acompare",
    "asolve",
    "compare",
    "load_trees",
    "open_policy",
    "save_trees",
    "solve",
    "to_graphml",
    "to_networkx",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'treesearch' has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
