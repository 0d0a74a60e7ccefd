"""The page on training says what the code does."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

from prm.training.config import HeadName, TrainConfig
from prm.training.heads import HEADS

PAGE = (Path(__file__).parents[2] / "docs" / "prm-training.md").read_text(encoding="utf-8")


def test_every_setting_is_on_the_page_with_its_default():
    told = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", PAGE, re.MULTILINE))
    shown = {True: "true", False: "false", None: "none"}
    wanted = {
        field.name: shown[field.default]
        if field.default is None or isinstance(field.default, bool)
        else str(field.default)
        for field in fields(TrainConfig)
    }
    assert told == wanted


def test_every_head_is_on_the_page_and_in_the_table():
    told = re.findall(r"^\| `([a-z-]+)` \| (solutions|pairs)", PAGE, re.MULTILINE)
    assert dict(told) == {
        name: "pairs" if head.data == "pairs" else "solutions" for name, head in HEADS.items()
    }
    assert set(HEADS) == set(get_args(HeadName))
