r"""Symbolic equality of two spellings; part of the worker's program, never imported by the toolkit.

Contract: `compare(gold, answer, tolerance)` returns a reply for `symbolic_child` (`equal`, `different`,
`gold_unreadable`, `answer_unreadable`, with the forms that were compared). It raises whatever sympy raises
and takes as long as sympy takes: its caller catches and kills.

Expressions are compared by their values at fixed points to 40 digits, and where those agree to 300, or
exactly if they are rational: math-verify rounds differences absolutely (it takes 1/2^99 and 1/2^98 for
equal). Equations and inequalities are equal if they are multiples of each other; what remains, sets among
it, is left to math-verify with its own time limits off.
"""

from __future__ import annotations

import hashlib
from typing import Any

import sympy
from math_verify import verify

from tasks.math.symbolic_parse import parse

_DIGITS = 40
_SPARE_DIGITS = 15
_LONG_DIGITS = 300
"""Two values that agree to `_DIGITS` are compared once more to this many."""
_LONGEST_SUM = 200
_POINTS = 5
_LONGEST_FORM = 300
# What the parser has met before, it meets faster: its tables are filled by what it parses.
_WARM_UP = (
    r"\frac{1}{2}+\sqrt[3]{x^2}-3\pi", r"\sin x\cdot e^{i\pi}",
    r"\begin{pmatrix}1&-2\\\frac{1}{2}&4\end{pmatrix}",
    r"x^2+y^2=1", r"1<x\le 5", r"\log_2 3", r"n!+\binom{5}{2}", r"|x|", r"f(x)", r"5x-7y+11z+4=0", r"(0,1]",
    r"6-5i", r"(a+5)(b+2)", r"-\infty", r"\frac{\sqrt{21}}{5}", r"-\frac{3\pi}{8}", r"8n^2+4n+1",
    r"2\sqrt{5}+3", r"\frac{11+9a}{20}", r"y=-2x+3", r"x^8-x^7+x", r"\frac{x+2}{x-7}", r"2^{10}-1",
    r"\cot^2 x", r"3R^2", r"\frac{\pi^2}{8}", r"12.5x", r"3(x-1)^3", r"\{1,2\}", r"x>3",
    r"\frac{1}{x}+\frac{y}{2}", r"\ln(2)",
)  # fmt: skip
_ALSO_READ = (
    r"\sum_{k=0}^{n-1}F_k F_{n-k-1}", r"x^5-x^4+x^3-x^2+x-1", r"\frac{x^2}{4}+\frac{y^2}{9}=1",
    r"2\sin x\cos x", r"(x-1)^2+(y+2)^2=9", r"\frac{-1+i\sqrt{3}}{2}", r"x^2+x\cdot\frac{2x+1}{3}-4",
    r"e^{2x}(x+1)",
)  # fmt: skip
_FLIPPED: dict[Any, Any] = {sympy.StrictGreaterThan: sympy.StrictLessThan, sympy.GreaterThan: sympy.LessThan}
_UNENDING = (sympy.Sum, sympy.Product, sympy.Integral)
_EXACT_NODES = (sympy.Rational, sympy.Add, sympy.Mul, sympy.factorial, sympy.binomial)


def warm_up() -> None:
    """Fill the tables of the parser, so that the first comparison is as fast as the others."""
    for latex in _WARM_UP:
        compare(latex, latex + "+1", None)
    for latex in _ALSO_READ:
        parse(latex)
    compare("(0,12.5)", "0<x<12.5", None)


def compare(gold_text: str, answer_text: str, tolerance: str | None) -> dict[str, Any]:
    """Reply on one pair; `tolerance` is absolute and used for values without variables only."""
    gold = parse(gold_text)
    if gold is None:
        return {"status": "gold_unreadable", "detail": gold_text[:200]}
    answer = parse(answer_text)
    if answer is None:
        return {"status": "answer_unreadable", "detail": answer_text[:200]}
    equal = _equal(gold, answer, tolerance)
    forms = [_form(gold), _form(answer)]
    return {"status": "equal" if equal else "different", "detail": "", "forms": forms}


def _form(value: Any) -> str:
    """The parse as text. Numbers are cut by sympy's printer limit or here, whichever is met first."""
    try:
        return str(value)[:_LONGEST_FORM]
    except ValueError:  # an integer with more digits than Python converts
        return type(value).__name__


def _equal(gold: Any, answer: Any, tolerance: str | None) -> bool:
    if isinstance(gold, sympy.MatrixBase) and isinstance(answer, sympy.MatrixBase):
        return gold.shape == answer.shape and all(
            _same_value(g, a, None) for g, a in zip(gold.flat(), answer.flat(), strict=True)
        )
    if isinstance(gold, sympy.Expr) and isinstance(answer, sympy.Expr):
        return _same_value(gold, answer, tolerance)
    if isinstance(gold, sympy.Expr) != isinstance(answer, sympy.Expr):
        return False
    if isinstance(gold, sympy.Eq) and isinstance(answer, sympy.Eq):
        difference, other = _sides(gold), _sides(answer)
        if difference is not None and other is not None:
            if _multiple(difference, other, positive=False):
                return True
            if len(difference.free_symbols) > 1 and difference.is_polynomial() and other.is_polynomial():
                return False
    elif _same_inequalities(gold, answer):
        return True
    as_set = _is_solved(answer)
    return verify(gold, answer, numeric_precision=_DIGITS, allow_set_relation_comp=as_set, timeout_seconds=0)


def _is_solved(relation: Any) -> bool:
    """True for `x > 2` and `1 < x < 5`, which may stand for an interval; not for an echo of the question."""
    parts = relation.atoms(sympy.core.relational.Relational) if isinstance(relation, sympy.Basic) else set()
    sides = [{part.lhs.is_Symbol, part.rhs.is_Symbol} for part in parts]
    free = [part.lhs.free_symbols & part.rhs.free_symbols for part in parts]
    return bool(parts) and all(True in side for side in sides) and not any(free)


def _sides(relation: Any) -> Any:
    """Left side less right side; None where sides of that kind have no difference (sets, truth values)."""
    try:
        return relation.lhs - relation.rhs
    except TypeError:
        return None


def _multiple(difference: Any, other: Any, *, positive: bool) -> bool:
    """True if the two are proportional by a constant that is not zero, and `positive` if so asked."""
    if difference == 0 or other == 0:
        return False
    ratio = sympy.Mul(difference, sympy.Pow(other, -1, evaluate=False), evaluate=False)
    values = [value for value in _values(ratio) if value is not None]
    if len(values) < 2 or not abs(values[0]) > 0 or not all(_close(value, values[0]) for value in values):
        return False
    return not positive or bool(values[0].is_real and values[0] > 0)


def _same_inequalities(gold: Any, answer: Any) -> bool:
    """True if both join the same number of inequalities alike, each a positive multiple of its partner."""
    golds, answers = _inequalities(gold), _inequalities(answer)
    joined = [type(side) for side in (gold, answer) if isinstance(side, (sympy.And, sympy.Or))]
    if golds is None or answers is None or len(golds) != len(answers) or len(set(joined)) > 1:
        return False
    for kind, difference in golds:
        for partner in answers:
            if partner[0] is kind and _multiple(difference, partner[1], positive=kind is not sympy.Ne):
                answers.remove(partner)
                break
        else:
            return False
    return True


def _inequalities(relation: Any) -> list[tuple[Any, Any]] | None:
    """Kind and difference of sides of each inequality, all turned to "less than"; None if that fails."""
    parts = relation.args if isinstance(relation, (sympy.And, sympy.Or)) else (relation,)
    if not all(isinstance(part, sympy.core.relational.Relational) for part in parts):
        return None
    turned: list[tuple[Any, Any]] = []
    for part in parts:
        difference = _sides(part)
        if difference is None or isinstance(part, sympy.Eq):
            return None
        flipped = _FLIPPED.get(type(part))
        turned.append((flipped, -difference) if flipped else (type(part), difference))
    return turned


def _same_value(gold: Any, answer: Any, tolerance: str | None) -> bool:
    """Equal values at fixed points, to the last digit that can be told; or within an absolute `tolerance`."""
    if gold == answer:
        return True
    if gold.is_infinite or answer.is_infinite:
        return False
    symbols = gold.free_symbols | answer.free_symbols
    if tolerance is not None and not symbols:
        difference = sympy.N(answer - gold, _DIGITS)
        return bool(difference.is_real and abs(difference) <= sympy.Rational(tolerance))
    counters = _counters(gold) | _counters(answer)
    defined: list[tuple[Any, Any]] = []
    for point in range(_POINTS if symbols else 1):
        place = _place(symbols, point, counters)
        pair = _at(gold, place), _at(answer, place)
        left, right = map(_number, pair)
        if (left is None) != (right is None):
            return False
        if left is not None:
            if not _close(left, right):
                return False
            defined.append(pair)
    if not defined:
        return bool(sympy.simplify(gold - answer) == 0)
    return _same_to_the_end(*defined[0])


def _same_to_the_end(left: Any, right: Any) -> bool:
    """Whether two close values are the same: exactly if both are rational, else to `_LONG_DIGITS`.

    Infinite sums, products and integrals are not worked out to more digits: that can take minutes.
    """
    if _is_plainly_rational(left) and _is_plainly_rational(right):
        exact_left, exact_right = left.doit(), right.doit()
        if exact_left.is_Rational and exact_right.is_Rational:
            return bool(exact_left == exact_right)
    if left.has(*_UNENDING) or right.has(*_UNENDING):
        return True
    long_left, long_right = (sympy.N(value, _LONG_DIGITS) for value in (left, right))
    return _close(long_left, long_right, _LONG_DIGITS)


def _is_plainly_rational(value: Any) -> bool:
    """True if `doit` gives a rational number without any algebra."""
    return all(
        isinstance(node, _EXACT_NODES) or (isinstance(node, sympy.Pow) and node.exp.is_Integer)
        for node in sympy.preorder_traversal(value)
    )


def _values(expression: Any) -> list[Any]:
    """Value of `expression` at each point; None where it has none. Without variables, one value."""
    symbols, counters = expression.free_symbols, _counters(expression)
    places = [_place(symbols, point, counters) for point in range(_POINTS if symbols else 1)]
    return [_number(_at(expression, place)) for place in places]


def _number(expression: Any) -> Any:
    """The number that an expression without variables is, to `_DIGITS`; None if it is none."""
    value = sympy.N(expression, _DIGITS, maxn=400)
    finite = value.is_number and value.is_finite and not value.has(sympy.nan, sympy.zoo, sympy.oo)
    numeric = finite and all(part.is_Float or part.is_Rational for part in value.as_real_imag())
    return value if numeric else None


def _place(symbols: Any, point: int, counters: Any) -> dict[Any, Any]:
    """A fixed rational between -4 and 4 for each variable; positive at points 0 and 1, negative at 2.

    `counters`, the variables that bound a sum or product, get whole numbers from 3 to 13.
    """
    place: dict[Any, Any] = {}
    for symbol in sorted(symbols, key=str):
        seed = int.from_bytes(hashlib.sha256(f"{symbol}:{point}".encode()).digest()[:4], "big")
        value = sympy.Rational(seed % 3989 + 11, 1009)
        place[symbol] = -value if point == 2 or (point > 2 and seed % 2 == 0) else value
        if symbol in counters:
            place[symbol] = sympy.Integer(3 + seed % 11)
    return place


def _counters(expression: Any) -> set[Any]:
    """The free variables in the bounds of sums and products."""
    bounded = expression.atoms(sympy.Sum, sympy.Product)
    return {
        symbol
        for node in bounded
        for limit in node.limits
        for bound in limit[1:]
        for symbol in bound.free_symbols
    }


def _at(expression: Any, place: dict[Any, Any]) -> Any:
    """`expression` at a point, with short sums and products written out."""
    value = expression.subs(place)
    for node in sorted(value.atoms(sympy.Sum, sympy.Product), key=sympy.count_ops):
        index, *bounds = node.limits[0]
        if len(node.limits) == len(bounds) - 1 == 1 and all(bound.is_Integer for bound in bounds):
            terms = range(int(bounds[0]), int(bounds[1]) + 1)
            if len(terms) <= _LONGEST_SUM:
                join: Any = sympy.Add if isinstance(node, sympy.Sum) else sympy.Mul
                value = value.xreplace({node: join(*(node.function.subs(index, term) for term in terms))})
    return value


def _close(left: Any, right: Any, digits: int = _DIGITS) -> bool:
    """Relative agreement but for the last 15 digits; a zero counts as such only if it is exact or all its
    digits were lost."""
    left_zero, right_zero = _vanishes(left), _vanishes(right)
    if left_zero or right_zero:
        return left_zero and right_zero
    scale = max(abs(left), abs(right))
    return bool(abs(left - right) <= scale * sympy.Float(10, digits) ** (_SPARE_DIGITS - digits))


def _vanishes(value: Any) -> bool:
    return all(part == 0 or getattr(part, "_prec", 99) <= 2 for part in value.as_real_imag())
