r"""Comparison in pure Python: spellings, exact numbers, bases, words; structures element by element.

Contract: `compare(gold, answer, undecided)` takes spellings made by `latex.plain`, walks lists, tuples,
intervals, sets, unions and assignments, and decides each pair of leaves with `compare_leaf`. A leaf pair
that it cannot decide (None) is handed to the callback `undecided`, which may raise to end the comparison.
Pure Python only, bounded by the caps of `tasks.math.limits`.

Known false positives of symbolic graders that end here (reference/reliability.md, section 2): chains such as
`x=1=2=3`, untrue equations such as `8=7`, two answers where one is asked for, `101` against `101_2`,
sequences with dots, clock times. Two plain numbers never reach a tolerance unless the gold is a decimal that
looks rounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tasks.math.canonical import key
from tasks.math.numerals import parse_base, parse_number, same_number
from tasks.math.shape import Kind, Shape, assignment, read_shape, split

MAX_ITEMS = 64
_MAX_DEPTH = 8
_WORD = re.compile(r"[A-Za-z]{2,}(?:[ '-][A-Za-z]{2,})*")
_SYMBOLS = {
    "pi", "theta", "alpha", "beta", "infinity", "inf", "sin", "cos", "tan", "cot", "sec", "csc", "log",
    "ln", "exp", "sqrt",
}  # fmt: skip
_SUBSCRIPTED_DIGIT = re.compile(r"\d_")
_DIGITS_APART = re.compile(r"\d \d")
_CLOCK = re.compile(r"\d[\d.]*(?::\d[\d.]*)+")
_DOTS = r"\ldots"

Undecided = Callable[[str, str], bool]


def compare_leaf(gold: str, answer: str) -> bool | None:
    """Compare two scalars: True or False if decided, None if it takes symbolic work."""
    if key(gold) == key(answer) and not _other_variable(gold, answer):
        return True
    if parse_base(gold) or parse_base(answer) or _DOTS in gold or _DOTS in answer:
        return False
    if bool(_SUBSCRIPTED_DIGIT.search(gold)) != bool(_SUBSCRIPTED_DIGIT.search(answer)):
        return False  # math-verify drops the subscript of a number
    gold_number, number = parse_number(gold), parse_number(answer)
    if gold_number and number:
        return same_number(gold_number, number)
    if _CLOCK.fullmatch(gold) or _CLOCK.fullmatch(answer):
        return _same_ratio(gold, answer)
    if _is_words(gold) or _is_words(answer):
        return None if _is_product(gold, answer) else False
    if not any(char.isalnum() for char in answer) or _DIGITS_APART.search(answer):
        return False
    return None


def compare(gold: str, answer: str, undecided: Undecided, depth: int = 0) -> bool:
    """Compare two answers through their structure; see the module docstring."""
    if key(gold) == key(answer) and not _other_variable(gold, answer):
        return True
    if depth >= _MAX_DEPTH:
        return _leaf(gold, answer, undecided)
    gold, members = _align_assignments(gold, answer)
    if members != [answer]:
        return bool(members) and all(compare(gold, member, undecided, depth + 1) for member in members)
    expected, given = read_shape(gold), read_shape(answer)
    if expected.kind is given.kind is Kind.SCALAR:
        if (expected.items[0], given.items[0]) != (gold, answer):
            return compare(expected.items[0], given.items[0], undecided, depth + 1)
        return _leaf(gold, answer, undecided)
    if Kind.SCALAR in (expected.kind, given.kind):
        return _one_against_many(expected, given, gold, answer, undecided, depth)
    return _same_items(expected, given, undecided, depth)


def _align_assignments(gold: str, answer: str) -> tuple[str, list[str]]:
    """The gold, and the members of `answer` that must each equal it; `[answer]` means: compare as they stand.

    A variable is dropped if the other side has none or the same one. An answer that is a chain must be right
    in every member, so that neither `x=1=2=3` nor `8=7` passes for its last number. No members: it is wrong.
    """
    gold_variable, gold_members = assignment(gold)
    variable, members = assignment(answer)
    if gold_members == [gold]:
        return gold, members
    if members == [answer]:
        return gold_members[-1], [answer] if gold_variable else []
    if gold_variable is not None and variable == gold_variable:
        return gold_members[-1], members
    return gold, [answer] if answer.count("=") == 1 else []


def _one_against_many(
    expected: Shape, given: Shape, gold: str, answer: str, undecided: Undecided, depth: int
) -> bool:
    """A scalar against a list: equal only if the list has one item, or if symbols could still say so."""
    many = given if expected.kind is Kind.SCALAR else expected
    if len(many.items) == 1 and many.kind is Kind.SET:
        return compare(expected.items[0], given.items[0], undecided, depth + 1)
    other = answer if many is expected else gold
    return _is_relation(other) and undecided(gold, answer)


def _same_items(expected: Shape, given: Shape, undecided: Undecided, depth: int) -> bool:
    if len(expected.items) != len(given.items) or len(given.items) > MAX_ITEMS:
        return False
    if Kind.UNION in (expected.kind, given.kind) and expected.kind is not given.kind:
        relations = given.items if expected.kind is Kind.UNION else expected.items
        if not all(_is_relation(item) for item in relations):
            return False
    if expected.kind is Kind.TUPLE:
        if given.kind is Kind.SET or (given.kind is Kind.TUPLE and given.brackets != expected.brackets):
            return False
        return all(
            compare(g, a, undecided, depth + 1) for g, a in zip(expected.items, given.items, strict=True)
        )
    if _DOTS in expected.items or _DOTS in given.items:
        return all(
            compare(g, a, undecided, depth + 1) for g, a in zip(expected.items, given.items, strict=True)
        )
    return _same_multiset(list(expected.items), list(given.items), undecided, depth)


def _same_multiset(golds: list[str], answers: list[str], undecided: Undecided, depth: int) -> bool:
    """Greedy matching, the cheap matches first: equality is transitive, so greedy loses nothing."""
    keys = [key(answer) for answer in answers]
    unmatched: list[str] = []
    for gold in golds:
        gold_key = key(gold)
        if gold_key in keys:
            position = keys.index(gold_key)
            del keys[position], answers[position]
        else:
            unmatched.append(gold)
    for gold in unmatched:
        match = next((a for a in answers if compare(gold, a, undecided, depth + 1)), None)
        if match is None:
            return False
        answers.remove(match)
    return True


def _leaf(gold: str, answer: str, undecided: Undecided) -> bool:
    decided = compare_leaf(gold, answer)
    return undecided(gold, answer) if decided is None else decided


def _is_relation(text: str) -> bool:
    """True for an inequality, or a set named by a letter: what an interval can be compared with."""
    return any(mark in text for mark in ("<", ">", r"\le", r"\ge", r"\mathbb"))


def _other_variable(gold: str, answer: str) -> bool:
    """True for `x=5` against `y=5`: the same key, and not the same answer."""
    gold_variable, variable = assignment(gold)[0], assignment(answer)[0]
    return gold_variable is not None and variable is not None and gold_variable != variable


def _is_words(text: str) -> bool:
    return bool(_WORD.fullmatch(text)) and not any(word.lower() in _SYMBOLS for word in text.split())


def _is_product(gold: str, answer: str) -> bool:
    """`abc` and `bca` may be products of variables: the same letters in another order."""
    return sorted(gold) == sorted(answer)


def _same_ratio(gold: str, answer: str) -> bool:
    """Times and ratios `1:2`: equal part by part, nothing reduced."""
    golds, answers = split(gold, (":",)), split(answer, (":",))
    return len(golds) == len(answers) and all(key(g) == key(a) for g, a in zip(golds, answers, strict=True))
