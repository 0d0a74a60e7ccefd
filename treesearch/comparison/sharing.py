"""Which cells need no search of their own: those that differ from another one in the answer rule alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from treesearch.comparison.cells import Cell
from treesearch.run.reanswer import can_be_answered_again, differs_in_answers_only
from treesearch.run.session import Plan


def searched_by(
    cell: Cell,
    every: Sequence[Cell],
    plans: Mapping[str, Plan],
    folder: Path | None,
    *,
    planned: bool = False,
) -> Cell | None:
    """The cell whose trees `cell` may answer from; None where there is none, or `cell` has begun itself.

    `folder` is the comparison's. With `planned` cells count that will be searched before `cell`.
    """
    if folder is not None and cell.folder(folder).exists():
        return None
    earlier = True
    for other in every:
        if other.name == cell.name:
            earlier = False
        elif differs_in_answers_only(plans[other.name], plans[cell.name]):
            if folder is not None and can_be_answered_again(other.folder(folder)):
                return other
            if planned and earlier and (folder is None or not other.done(folder)):
                return other
    return None
