"""Names of algorithms, values, tasks and engines, resolved on use.

Each table maps a name to ``module:object``; nothing is imported before it is asked for, so `search --help`
loads no model code. Other packages add to a table through entry points of the groups in `GROUPS`; nothing is
ever loaded from the current directory. A built-in name wins over an entry point of the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from tasks.errors import unknown_name

TABLES: Mapping[str, Mapping[str, str]] = {
    "algorithm": {
        "greedy": "treesearch.algorithms.sampling:Greedy",
        "best-of-n": "treesearch.algorithms.sampling:BestOfN",
        "self-consistency": "treesearch.algorithms.sampling:SelfConsistency",
        "adaptive-self-consistency": "treesearch.algorithms.adaptive:AdaptiveSelfConsistency",
        "beam": "treesearch.algorithms.beam:Beam",
        "dvts": "treesearch.algorithms.dvts:DVTS",
        "best-first": "treesearch.algorithms.best_first:BestFirst",
        "mcts": "treesearch.algorithms.mcts:MCTS",
        "rest-mcts": "treesearch.algorithms.rest_mcts:RestMCTS",
    },
    "value": {
        "none": "treesearch.values.free:NoValue",
        "logprob": "treesearch.values.free:LogProb",
        "last-step": "treesearch.values.free:LastStep",
        "self-certainty": "treesearch.values.free:SelfCertainty",
        "rollout": "treesearch.values.rollout:RollOutValue",
        "verifier": "treesearch.values.free:Verifier",
        "prm": "prm.values.reward_model:PRMValue",
        "embedded": "prm.values.reward_model:EmbeddedPRM",
        "judge": "prm.values.judge:Judge",
        "ensemble": "prm.values.ensemble:EnsembleValue",
        "answer-confidence": "prm.values.confidence:AnswerConfidence",
        "self-reward": "prm.values.self_reward:SelfReward",
    },
    "task": {
        "math": "tasks.math:MathTask",
        "countdown": "tasks.countdown.task:CountdownTask",
    },
    "engine": {
        "transformers": "treesearch.engines.transformers:open_engine",
        "openai": "treesearch.engines.openai:open_engine",
        "vllm": "treesearch.engines.vllm:open_engine",
        "scripted": "treesearch.engines.scripted:open_engine",
        "steered": "prm.steering.engine:open_engine",
    },
}
GROUPS: Mapping[str, str] = {kind: f"treesearch.{kind}s" for kind in TABLES}


def names(kind: str) -> list[str]:
    """Every name of a kind, built-in ones first, then those of installed packages."""
    known = list(TABLES[kind])
    return known + sorted(e.name for e in entry_points(group=GROUPS[kind]) if e.name not in known)


def find(kind: str, name: str) -> Any:
    """The class or function behind a name; `UsageError` names the nearest valid one."""
    target = TABLES[kind].get(name)
    if target is not None:
        module, _, attribute = target.partition(":")
        return getattr(import_module(module), attribute)
    for entry in entry_points(group=GROUPS[kind]):
        if entry.name == name:
            return entry.load()
    raise unknown_name(kind, name, names(kind))


def summary(kind: str, name: str) -> str:
    """First line of the docstring of what a name stands for."""
    return (find(kind, name).__doc__ or "").strip().split("\n")[0]
