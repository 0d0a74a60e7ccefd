r"""Comparison in pure Python: spellings, exact numbers, bases, words, polynomials that differ; structures
element by element.

Contract: `compare(gold, answer, judge)` takes spellings made by `latex.plain`, walks lists, tuples,
intervals, sets, unions and assignments, and decides each pair of leaves with `compare_leaf`. A leaf pair
that it cannot decide (None) is handed to `judge.undecided`, which may raise to end the comparison; what is
decided here is told to `judge.note`. Pure Python only, bounded by the caps of `tasks.math.limits`.

Known false positives of symbolic graders that end here (reference/reliability.md, section 2): chains such as
`x=1=2=3`, untrue equations such as `8=7`, two answers where one is asked for, `101` against `101_2`,
sequences with dots, clock times. Two plain numbers never reach a tolerance unless the gold is a decimal that
looks rounded.
"""

from __future__ import annotations

import re

from tasks.math.canonical import key
from tasks.math.numerals import parse_base, parse_number, same_number
from tasks.math.rational import differ
from tasks.math.shape import Kind, Shape, assignment, read_shape, split, variables, without_membership

MAX_ITEMS = 64
_MAX_DEPTH = 8
_MAX_RELATED = 8
"""Items of a list that may be compared with one inequality."""
_WORD = re.compile(r"[A-Za-z]{2,}(?:[ '-][A-Za-z]{2,})*")
_SYMBOLS = {
    "pi", "theta", "alpha", "beta", "infinity", "inf", "sin", "cos", "tan", "cot", "sec", "csc", "log",
    "ln", "exp", "sqrt",
}  # fmt: skip
_SUBSCRIPTED_DIGIT = re.compile(r"\d_")
_DIGITS_APART = re.compile(r"(?:\A|[^\d._^])\d[\d.]* \d")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_CLOCK = re.compile(r"(\d[\d.]*(?::\d[\d.]*)+|\d{1,2}(?= ?[AaPp]))(?: ?([AaPp])\.?[Mm]\.?)?")
_DOTS = r"\ldots"


class Judge:
    """What `compare` asks about pairs that it leaves open, and tells about pairs that it decides."""

    def undecided(self, gold: str, answer: str) -> bool:
        """Whether two leaves are equal that only symbolic work can tell; may raise to end the comparison."""
        raise NotImplementedError

    def note(self, gold: str, answer: str, equal: bool) -> None:
        """Hear of a pair that was decided; does nothing here."""
        del gold, answer, equal


def compare_leaf(gold: str, answer: str) -> bool | None:
    """Compare two scalars: True or False if decided, None if it takes symbolic work."""
    if key(gold) == key(answer) and not _other_variable(gold, answer):
        return True
    if parse_base(gold) or parse_base(answer) or _DOTS in gold or _DOTS in answer:
        return False
    if bool(_SUBSCRIPTED_DIGIT.search(gold)) != bool(_SUBSCRIPTED_DIGIT.search(answer)):
        return False  # the parser drops the subscript of a number
    gold_number, number = parse_number(gold), parse_number(answer)
    if gold_number and number:
        return same_number(gold_number, number)
    if _CLOCK.fullmatch(gold) or _CLOCK.fullmatch(answer):
        return _same_time(gold, answer)
    if _is_words(gold) or _is_words(answer):
        return None if _is_product(gold, answer) else False
    if not any(char.isalnum() for char in answer) or _DIGITS_APART.search(answer):
        return False
    rounded = gold_number is not None and gold_number.tolerance is not None
    return False if not rounded and differ(gold, answer) else None


def compare(gold: str, answer: str, judge: Judge, depth: int = 0) -> bool:
    """Compare two answers through their structure; see the module docstring."""
    if key(gold) == key(answer) and not _other_variable(gold, answer):
        judge.note(gold, answer, True)
        return True
    if depth >= _MAX_DEPTH:
        return _leaf(gold, answer, judge)
    gold, answer = without_membership(gold), without_membership(answer)
    gold, members = _align_assignments(gold, answer)
    if members != [answer]:
        if not members:
            judge.note(gold, answer, False)
        return bool(members) and all(compare(gold, member, judge, depth + 1) for member in members)
    expected, given = read_shape(gold), read_shape(answer)
    if expected.kind is given.kind is Kind.SCALAR:
        if (expected.items[0], given.items[0]) != (gold, answer):
            return compare(expected.items[0], given.items[0], judge, depth + 1)
        return _leaf(gold, answer, judge)
    if Kind.SCALAR in (expected.kind, given.kind):
        return _one_against_many(expected, given, gold, answer, judge, depth)
    if not _comparable(expected, given):
        judge.note(gold, answer, False)
        return False
    return _same_items(expected, given, judge, depth)


def _align_assignments(gold: str, answer: str) -> tuple[str, list[str]]:
    """The gold, and the members of `answer` that must each equal it; `[answer]` means: compare as they stand.

    A variable is dropped if the other side has none or the same one, and so are the first members of a gold
    that is worked out (`2+3=5`). An answer that is a chain must be right
    in every member, so that neither `x=1=2=3` nor `8=7` passes for its last number. No members: it is wrong.
    """
    gold_variable, gold_members = assignment(gold)
    variable, members = assignment(answer)
    if gold_members != [gold] and not any(map(str.isalpha, _COMMAND.sub("", gold))):
        gold = gold_members[-1]
        gold_members = [gold]
    if gold_members == [gold]:
        return gold, members
    if members == [answer]:
        return gold_members[-1], [answer] if gold_variable else []
    if gold_variable is not None and variable == gold_variable:
        return gold_members[-1], members
    return gold, [answer] if answer.count("=") == 1 else []


def _one_against_many(
    expected: Shape, given: Shape, gold: str, answer: str, judge: Judge, depth: int
) -> bool:
    """A scalar against a list: equal only if the list has one item, or if symbols could still say so."""
    many = given if expected.kind is Kind.SCALAR else expected
    if len(many.items) == 1 and many.kind is Kind.SET:
        return compare(expected.items[0], given.items[0], judge, depth + 1)
    other = answer if many is expected else gold
    if (_is_relation(other) and len(many.items) <= _MAX_RELATED) or (
        many.kind is Kind.MATRIX and "matrix}" in other
    ):
        return judge.undecided(gold, answer)
    judge.note(gold, answer, False)
    return False


def _comparable(expected: Shape, given: Shape) -> bool:
    """False if the number of items or the brackets alone show a difference.

    Round brackets may be left out. Two numbers in square brackets are an interval, so they are neither a set
    nor a list; more than two are a list as programs write it.
    """
    if len(expected.items) != len(given.items) or len(given.items) > MAX_ITEMS:
        return False
    kinds = {expected.kind, given.kind}
    if Kind.MATRIX in kinds:
        return len(kinds) == 1 and expected.rows == given.rows
    if Kind.UNION in kinds and len(kinds) == 2:
        return all(_is_relation(item) for item in (given if expected.kind is Kind.UNION else expected).items)
    if kinds == {Kind.TUPLE}:
        return expected.brackets == given.brackets
    if Kind.TUPLE in kinds:
        brackets = expected.brackets or given.brackets
        listed = brackets == "()" or (brackets == "[]" and len(expected.items) > 2)
        return listed and Kind.SET not in kinds
    return True


def _same_items(expected: Shape, given: Shape, judge: Judge, depth: int) -> bool:
    named = [len(variables(shape.items)) > 1 for shape in (expected, given)]
    ordered = expected.ordered or given.ordered or named[0] != named[1]
    if ordered or _DOTS in expected.items or _DOTS in given.items:
        pairs = zip(expected.items, given.items, strict=True)
        return all(compare(g, a, judge, depth + 1) for g, a in pairs)
    return _same_multiset(list(expected.items), list(given.items), judge, depth, named=all(named))


def _same_multiset(golds: list[str], answers: list[str], judge: Judge, depth: int, *, named: bool) -> bool:
    """Greedy matching, the cheap matches first: equality is transitive, so greedy loses nothing."""
    keys = [key(answer) for answer in answers]
    unmatched: list[str] = []
    for gold in golds:
        gold_key = key(gold)
        if gold_key in keys and not named:
            position = keys.index(gold_key)
            judge.note(gold, answers[position], True)
            del keys[position], answers[position]
        else:
            unmatched.append(gold)
    for gold in unmatched:
        match = next((a for a in answers if compare(gold, a, judge, depth + 1)), None)
        if match is None:
            return False
        answers.remove(match)
    return True


def _leaf(gold: str, answer: str, judge: Judge) -> bool:
    decided = compare_leaf(gold, answer)
    if decided is None:
        return judge.undecided(gold, answer)
    judge.note(gold, answer, decided)
    return decided


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


def _same_time(gold: str, answer: str) -> bool:
    """Times and ratios `1:2`: equal part by part, nothing reduced; am and pm count if both name one."""
    times: list[tuple[list[str], str]] = []
    for text in (gold, answer):
        match = _CLOCK.fullmatch(text)
        parts = split(match[1] if match else text, (":",))
        half = (match[2] or "").lower() if match else ""
        times.append(([*parts, "00"] if half and len(parts) == 1 else parts, half))
    (golds, gold_half), (answers, half) = times
    if gold_half and half and gold_half != half:
        return False
    return len(golds) == len(answers) and all(key(g) == key(a) for g, a in zip(golds, answers, strict=True))
