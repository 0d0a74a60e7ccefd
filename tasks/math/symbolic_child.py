"""The program that the grading worker runs: reads pairs of answers, compares them with sympy.

Run by path as `python -I symbolic_child.py PATHS`, never imported by the toolkit: it is the only file that
loads sympy and math-verify. Contract: one JSON object a line on stdin (`gold`, `answer`, `tolerance`,
`timeout_s`), one JSON line on stdout in reply (`status`, `detail`); before the first reply, a line with
status `ready`, or `fatal`. It ends when stdin closes.

Comparisons run in a forked copy of this process, made after the imports. A copy that reaches the time limit
is killed and the next comparison gets a new one, at the cost of a fork and not of another import of sympy. A
copy serves `MAX_SERVED` comparisons and clears the caches of sympy after each, so that memory stays bounded
and a verdict does not depend on what was compared before. Its CPU limit holds even if both its parents are
killed. Forking is safe here because this process has one thread and no libraries that start any.

Parsing is math-verify's. Expressions are compared here by their values at fixed points to 40 digits, because
math-verify rounds differences absolutely (it takes 1/2^99 and 1/2^98 for equal); relations and sets are
compared by math-verify with its own time limits off.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import resource
import select
import signal
import sys
import time
from typing import Any

MEMORY_BYTES = 1 << 30
CPU_SECONDS = 4
"""CPU time that a copy gets for one comparison, should nobody be left to kill it."""
MAX_SERVED = 500
_DIGITS = 40
_AGREEMENT_DIGITS = 25
_POINTS = 5
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


def main() -> int:
    """Serve until stdin closes."""
    sys.path.extend(path for path in sys.argv[1:] if path not in sys.path)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        for latex in _WARM_UP:
            _compare(latex, latex + "+1", None)
    except ImportError as error:
        _reply({"status": "fatal", "detail": str(error)})
        return 1
    gc.freeze()
    _reply({"status": "ready", "detail": ""})
    copy: _Copy | None = None
    for line in sys.stdin:
        timeout_s = float(json.loads(line)["timeout_s"])
        copy = copy or _Copy()
        reply = copy.ask(line, timeout_s)
        if reply["status"] in ("timeout", "crashed") or copy.served >= MAX_SERVED:
            copy.kill()
            copy = None
        _reply(reply)
    return 0


def _reply(message: dict[str, str]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


class _Copy:
    """A forked copy of this process that answers requests until it is killed."""

    def __init__(self) -> None:
        self.served = 0
        request_reader, self._requests = os.pipe()
        self._replies, reply_writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._requests)
            os.close(self._replies)
            _run_copy(request_reader, reply_writer)
        os.close(request_reader)
        os.close(reply_writer)

    def ask(self, line: str, timeout_s: float) -> dict[str, str]:
        """Reply to one request line; `timeout` or `crashed` if none came, after which only `kill` is left."""
        deadline = time.monotonic() + timeout_s
        self.served += 1
        try:
            os.write(self._requests, line.encode())
        except BrokenPipeError:
            return {"status": "crashed", "detail": "the comparing process was gone"}
        readable, _, _ = select.select([self._replies], [], [], max(0.0, deadline - time.monotonic()))
        if not readable:
            return {"status": "timeout", "detail": f"no result within {timeout_s:.1f} s"}
        data = os.read(self._replies, 1 << 16)
        return json.loads(data) if data else {"status": "crashed", "detail": "the comparison died"}

    def kill(self) -> None:
        """End the copy, whatever it is doing."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._requests)
        os.close(self._replies)


def _run_copy(requests: int, replies: int) -> None:
    """Body of the forked copy; it leaves by `_exit`, so that nothing of its parent's is flushed twice."""
    from sympy.core.cache import clear_cache

    with os.fdopen(requests) as lines:
        for line in lines:
            usage = resource.getrusage(resource.RUSAGE_SELF)
            limit = int(usage.ru_utime + usage.ru_stime) + CPU_SECONDS
            resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
            reply = _guarded(json.loads(line))
            os.write(replies, json.dumps(reply).encode())
            if reply["status"] == "crashed":
                break
            clear_cache()
    os._exit(0)


def _guarded(request: dict[str, Any]) -> dict[str, str]:
    """The comparison, with every way in which sympy can fail turned into a reply."""
    try:
        return _compare(request["gold"], request["answer"], request["tolerance"])
    except MemoryError:
        return {"status": "crashed", "detail": f"over the memory limit of {MEMORY_BYTES >> 20} MiB"}
    except RecursionError:
        return {"status": "crashed", "detail": "nested too deeply"}
    except Exception as error:  # noqa: BLE001 - sympy raises nearly anything; the parent must hear of it
        return {"status": "crashed", "detail": f"{type(error).__name__}: {error}"[:200]}


def _compare(gold_text: str, answer_text: str, tolerance: str | None) -> dict[str, str]:
    gold = _parse(gold_text)
    if gold is None:
        return {"status": "gold_unreadable", "detail": gold_text[:200]}
    answer = _parse(answer_text)
    if answer is None:
        return {"status": "answer_unreadable", "detail": answer_text[:200]}
    equal = _equal(gold, answer, tolerance)
    return {"status": "equal" if equal else "different", "detail": ""}


def _parse(latex: str) -> Any:
    """The sympy object that `latex` stands for, floats made exact and symbols unified by name; or None."""
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse

    # Units are dropped by `tasks.math.latex`; math-verify would also drop `am`, `c`, `d` and `m`.
    rules = NormalizationConfig(units=False, malformed_operators=True, nits=True, boxed="none")
    text = "$" + latex.replace("\n", " ").replace("$", "") + "$"
    target = [LatexExtractionConfig(normalization_config=rules)]
    found: list[Any] = parse(text, target, fallback_mode="no_fallback", parsing_timeout=0)
    return _exact(found[0]) if found else None


def _exact(value: Any) -> Any:
    import sympy

    if isinstance(value, sympy.MatrixBase):
        return value.applyfunc(_exact)
    if not isinstance(value, sympy.Expr):
        return value
    swaps: dict[Any, Any] = {number: sympy.Rational(str(number)) for number in value.atoms(sympy.Float)}
    for symbol in value.free_symbols:
        swaps[symbol] = sympy.I if str(symbol) == "i" else sympy.Symbol(str(symbol))
    return value.xreplace(swaps)


def _equal(gold: Any, answer: Any, tolerance: str | None) -> bool:
    import sympy

    if isinstance(gold, sympy.MatrixBase) and isinstance(answer, sympy.MatrixBase):
        return gold.shape == answer.shape and all(
            _same_value(g, a, None) for g, a in zip(gold.flat(), answer.flat(), strict=True)
        )
    if isinstance(gold, sympy.Expr) and isinstance(answer, sympy.Expr):
        return _same_value(gold, answer, tolerance)
    if isinstance(gold, sympy.Eq) and isinstance(answer, sympy.Eq):
        return _same_equation(gold, answer)
    if isinstance(gold, sympy.Expr) != isinstance(answer, sympy.Expr):
        return False
    from math_verify import verify

    as_set = _is_solved(answer)
    return verify(gold, answer, numeric_precision=_DIGITS, allow_set_relation_comp=as_set, timeout_seconds=0)


def _is_solved(relation: Any) -> bool:
    """True for `x > 2` and `1 < x < 5`, which may stand for an interval; not for an echo of the question."""
    import sympy

    parts = relation.atoms(sympy.core.relational.Relational) if isinstance(relation, sympy.Basic) else set()
    sides = [{part.lhs.is_Symbol, part.rhs.is_Symbol} for part in parts]
    free = [part.lhs.free_symbols & part.rhs.free_symbols for part in parts]
    return bool(parts) and all(True in side for side in sides) and not any(free)


def _same_equation(gold: Any, answer: Any) -> bool:
    """True if the two differences of sides are proportional; otherwise whatever math-verify solves for."""
    import sympy

    try:
        difference, other = _exact(gold.lhs - gold.rhs), _exact(answer.lhs - answer.rhs)
    except TypeError:
        return False
    if other != 0 and difference != 0:
        ratio = sympy.Mul(difference, sympy.Pow(other, -1, evaluate=False), evaluate=False)
        values = [value for value in _values(ratio) if value is not None]
        if len(values) >= 2 and abs(values[0]) > 0 and all(_close(value, values[0]) for value in values):
            return True
    from math_verify import verify

    return verify(gold, answer, numeric_precision=_DIGITS, timeout_seconds=0)


def _same_value(gold: Any, answer: Any, tolerance: str | None) -> bool:
    """Equal values at fixed points to `_AGREEMENT_DIGITS`, or within an absolute `tolerance`."""
    import sympy

    if gold == answer:
        return True
    if gold.is_infinite or answer.is_infinite:
        return False
    symbols = gold.free_symbols | answer.free_symbols
    if tolerance is not None and not symbols:
        difference = sympy.N(answer - gold, _DIGITS)
        return bool(difference.is_real and abs(difference) <= sympy.Rational(tolerance))
    pairs = list(zip(_values(gold, symbols), _values(answer, symbols), strict=True))
    defined = [(g, a) for g, a in pairs if g is not None and a is not None]
    if any(not _close(g, a) for g, a in defined):
        return False
    if any((g is None) != (a is None) for g, a in pairs):
        return False
    return bool(defined) or bool(sympy.simplify(gold - answer) == 0)


def _values(expression: Any, symbols: Any = None) -> list[Any]:
    """Value of `expression` at each point; None where it has none. Without symbols, one value."""
    import sympy

    names = sorted(str(s) for s in (expression.free_symbols if symbols is None else symbols))
    values: list[Any] = []
    for point in range(_POINTS if names else 1):
        place = {sympy.Symbol(name): _coordinate(name, point) for name in names}
        value = sympy.N(expression.subs(place), _DIGITS, maxn=400)
        finite = value.is_number and value.is_finite and not value.has(sympy.nan, sympy.zoo, sympy.oo)
        numeric = finite and all(part.is_Float or part.is_Rational for part in value.as_real_imag())
        values.append(value if numeric else None)
    return values


def _coordinate(name: str, point: int) -> Any:
    """A fixed rational between -4 and 4 for a variable; positive at points 0 and 1, negative at 2."""
    import sympy

    seed = int.from_bytes(hashlib.sha256(f"{name}:{point}".encode()).digest()[:4], "big")
    value = sympy.Rational(seed % 3989 + 11, 1009)
    negative = point == 2 or (point > 2 and seed % 2 == 0)
    return -value if negative else value


def _close(left: Any, right: Any) -> bool:
    """Relative agreement; a zero counts as such only if it is exact or all its digits were lost."""
    import sympy

    left_zero, right_zero = _vanishes(left), _vanishes(right)
    if left_zero or right_zero:
        return left_zero and right_zero
    scale = max(abs(left), abs(right))
    return bool(abs(left - right) <= scale * sympy.Float(10, _DIGITS) ** -_AGREEMENT_DIGITS)


def _vanishes(value: Any) -> bool:
    return all(part == 0 or getattr(part, "_prec", 99) <= 2 for part in value.as_real_imag())


if __name__ == "__main__":
    sys.exit(main())
