"""Exhaustive countdown solver: knows what is solvable, with whole numbers or with fractions on the way.

Contract: `solve` returns step lines of one solution or None; `solvable` answers for any state of a
partly solved puzzle. Exact over fractions; results are cached by state, so that asking about every node
of a search tree is cheap. Up to six numbers; more raise `UsageError`, since the work grows as n!^2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache

from tasks.countdown.puzzle import apply, format_step
from tasks.errors import UsageError

State = tuple[Fraction, ...]
MAX_NUMBERS = 6


def moves(state: State, *, whole: bool) -> Iterator[tuple[Fraction, str, Fraction, State]]:
    """Every legal move of `state`: left operand, operation, right operand, state after it.

    `whole` keeps only whole, non-negative values. Commutative moves come once, the larger operand first.
    """
    for i in range(len(state)):
        for j in range(i):
            rest = state[:j] + state[j + 1 : i] + state[i + 1 :]
            large, small = state[i], state[j]  # ascending order: state[i] >= state[j]
            orders = [(large, "+", small), (large, "-", small), (large, "*", small), (large, "/", small)]
            if large != small:
                orders += [(small, "-", large), (small, "/", large)]
            for left, op, right in orders:
                value = apply(left, op, right)
                if value is None:
                    continue
                if whole and (value < 0 or value.denominator != 1):
                    continue
                yield left, op, right, tuple(sorted((*rest, value)))


def solvable(numbers: Sequence[int | Fraction], target: int, *, whole: bool = False) -> bool:
    """Whether some play of `numbers` reaches `target`."""
    return _solvable(_state(numbers), Fraction(target), whole)


def solve(numbers: Sequence[int | Fraction], target: int, *, whole: bool = False) -> tuple[str, ...] | None:
    """Step lines of one solution, or None where there is none."""
    state, goal, lines = _state(numbers), Fraction(target), list[str]()
    if not _solvable(state, goal, whole):
        return None
    while len(state) > 1:
        left, op, right, state = next(
            move for move in moves(state, whole=whole) if _solvable(move[3], goal, whole)
        )
        lines.append(format_step(left, op, right, state))
    return tuple(lines)


def _state(numbers: Sequence[int | Fraction]) -> State:
    if not 1 <= len(numbers) <= MAX_NUMBERS:
        raise UsageError(f"the countdown solver takes 1 to {MAX_NUMBERS} numbers, got {len(numbers)}")
    return tuple(sorted(Fraction(number) for number in numbers))


@lru_cache(maxsize=200_000)
def _solvable(state: State, target: Fraction, whole: bool) -> bool:
    if len(state) == 1:
        return state[0] == target
    return any(_solvable(after, target, whole) for _, _, _, after in moves(state, whole=whole))
