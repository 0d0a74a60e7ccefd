"""Which cells need no search of their own, because another cell's trees have all that they answer from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from treesearch.comparison.cells import Cell
from treesearch.run.plan import Plan
from treesearch.run.reanswer import answers_from, can_be_answered_again


def searched_by(
    cell: Cell,
    every: Sequence[Cell],
    plans: Mapping[str, Plan],
    folder: Path | None,
    *,
    planned: bool = False,
) -> Cell | None:
    """The cell whose trees `cell` may answer from; None where there is none, or `cell` has begun itself.

    `folder` is the comparison's. With `planned` cells count that will be searched before `cell`
    (`searches_first`).
    """
    if folder is not None and cell.folder(folder).exists():
        return None
    earlier = True
    for other in every:
        if other.name == cell.name:
            earlier = False
        elif (other.budget, other.seed) == (cell.budget, cell.seed) and answers_from(
            plans[cell.name], plans[other.name]
        ):
            if folder is not None and can_be_answered_again(other.folder(folder)):
                return other
            first = earlier or not answers_from(plans[other.name], plans[cell.name])
            if planned and first and (folder is None or not other.done(folder)):
                return other
    return None


def searches_first(every: Sequence[Cell], plans: Mapping[str, Plan], folder: Path) -> list[Cell]:
    """The cells in their order, but for those whose trees an earlier one answers from: they go before it."""
    order: list[Cell] = []
    for cell in every:
        if cell not in order:
            searched = searched_by(cell, every, plans, folder, planned=True)
            order += [one for one in (searched, cell) if one is not None and one not in order]
    return order
