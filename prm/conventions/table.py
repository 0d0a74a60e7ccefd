"""The table of conventions, by name, and which one a checkpoint follows.

`detect` goes by the checkpoint's whole hub id, then by the name of its folder, then by an architecture that
only one family has. Where two families' checkpoints share a name, the architecture decides; where that does
not either, it is an error: nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from prm.conventions.base import Convention
from prm.conventions.generative import GENPRM, THINKPRM
from prm.conventions.implicit import EURUSPRM, IMPLICITPRM
from prm.conventions.llemma import LLEMMA
from prm.conventions.math_shepherd import MATH_SHEPHERD
from prm.conventions.pure import PURE, PURE_PRM800K
from prm.conventions.qwen import QWEN_PRM, QWEN_PRM800K
from prm.conventions.reasoneval import REASONEVAL, REASONEVAL_REDUNDANCY
from prm.conventions.rest_mcts import REST_MCTS
from prm.conventions.rlhflow import RLHFLOW_DEEPSEEK, RLHFLOW_MISTRAL
from prm.conventions.skywork import SKYWORK
from prm.conventions.steps import STEPS
from prm.conventions.versaprm import VERSAPRM
from tasks.errors import UsageError, unknown_name

CONVENTIONS: Mapping[str, Convention] = {
    convention.name: convention
    for convention in (
        STEPS,
        MATH_SHEPHERD,
        RLHFLOW_MISTRAL,
        RLHFLOW_DEEPSEEK,
        QWEN_PRM,
        QWEN_PRM800K,
        SKYWORK,
        EURUSPRM,
        IMPLICITPRM,
        VERSAPRM,
        PURE,
        PURE_PRM800K,
        LLEMMA,
        REASONEVAL,
        REASONEVAL_REDUNDANCY,
        GENPRM,
        THINKPRM,
        REST_MCTS,
    )
}
_ARCHITECTURES: Mapping[str, tuple[str, ...]] = {
    "Qwen2ForProcessRewardModel": (QWEN_PRM.name, QWEN_PRM800K.name),
    "Qwen2ForTokenClassification": (PURE.name, PURE_PRM800K.name),
    "Qwen2ForPrmModel": (SKYWORK.name,),
    "ReasonEval_7B": (REASONEVAL.name,),
    "ReasonEval_34B": (REASONEVAL.name,),
}
"""Families whose published checkpoints have an architecture."""
_SAYS_ENOUGH = ("Qwen2ForProcessRewardModel", "Qwen2ForPrmModel", "ReasonEval_7B", "ReasonEval_34B")
"""Architectures that name the layout too, whatever the checkpoint is called."""


def names() -> tuple[str, ...]:
    """Names of all conventions."""
    return tuple(CONVENTIONS)


def find(name: str) -> Convention:
    """The convention of a name; `UsageError` names the nearest one."""
    if name not in CONVENTIONS:
        raise unknown_name("convention", name, CONVENTIONS)
    return CONVENTIONS[name]


def detect(model: str, config: Mapping[str, Any]) -> Convention:
    """The convention of a checkpoint, a hub id or a folder with its config.

    Raises `UsageError` where neither name nor architecture tells.
    """
    for convention in CONVENTIONS.values():
        if model in convention.checkpoints:
            return convention
    named = [name for name, convention in CONVENTIONS.items() if _called(model, convention)]
    architectures = [str(each) for each in config.get("architectures") or ()]
    fitting = [name for each in architectures for name in _ARCHITECTURES.get(each, ())]
    both = [name for name in named if name in fitting]
    for candidates in (both, named):
        if len(candidates) == 1:
            return CONVENTIONS[candidates[0]]
    if not named and fitting and architectures[0] in _SAYS_ENOUGH:
        return CONVENTIONS[fitting[0]]
    raise UsageError(
        f"cannot tell which convention {model!r} follows (architectures {architectures or 'unknown'}); give "
        f"family=NAME, one of: {', '.join(CONVENTIONS)}"
    )


def _called(model: str, convention: Convention) -> bool:
    """Whether a folder or id has the base name of one of the convention's checkpoints."""
    name = PurePath(model).name.lower()
    return any(name == PurePath(checkpoint).name.lower() for checkpoint in convention.checkpoints)
