"""Scoring conventions: how published process-reward models must be asked, each field explicit.

`find` gives a convention by name, `detect` by a checkpoint's config, `bind` puts it to work with a
tokenizer. Importing this loads no model library.
"""

from prm.conventions.base import (
    Activation,
    Classes,
    Convention,
    LinearValue,
    LogRatio,
    ReadAt,
    ReadOut,
    StepSplitter,
    TagPolicy,
    Threshold,
    Token,
    TwoTokens,
    Verdict,
    VocabularyMean,
    VocabularyValue,
)
from prm.conventions.bound import Bound, Rendered, bind
from prm.conventions.steps import STEPS
from prm.conventions.table import detect, find, names

__all__ = [
    "STEPS",
    "Activation",
    "Bound",
    "Classes",
    "Convention",
    "LinearValue",
    "LogRatio",
    "ReadAt",
    "ReadOut",
    "Rendered",
    "StepSplitter",
    "TagPolicy",
    "Threshold",
    "Token",
    "TwoTokens",
    "Verdict",
    "VocabularyMean",
    "VocabularyValue",
    "bind",
    "detect",
    "find",
    "names",
]
