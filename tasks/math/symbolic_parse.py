r"""From a spelling to a sympy object; part of the worker's program, never imported by the toolkit.

Contract: `parse(latex)` takes a spelling made by `tasks.math.latex.plain`; None means that it is no formula.
It may take as long as it takes: its caller kills.

The grammar is latex2sympy2_extended's, with what math-verify normalises before it. It is called directly,
because math-verify lower-cases variables (it takes `2\pi R` for `2\pi r`) and, where a formula does not
parse, looks for a part of it that does. No text is evaluated as code.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import sympy
from latex2sympy2_extended import NormalizationConfig, latex2sympy, normalize_latex
from latex2sympy2_extended.latex2sympy2 import ConversionConfig
from math_verify.grader import should_treat_as_complex

# Units are dropped by `tasks.math.latex`; math-verify would also drop `am`, `c`, `d` and `m`.
_NORMALIZATION = NormalizationConfig(units=False, malformed_operators=True, nits=True, boxed="none")
_CONVERSION = ConversionConfig(lowercase_symbols=False)
_PRIMES = re.compile(r"([A-Za-z])('+)")
# The parser reads these as constants, \gamma and \Gamma as the same one; here they are variables.
_NOT_CONSTANTS = (
    (re.compile(r"\\gamma(?![A-Za-z])"), "g_{gamma}"),
    (re.compile(r"(?<![A-Za-z\\{])I(?![A-Za-z_])"), "I_{v}"),
)


@lru_cache(maxsize=32)
def parse(latex: str) -> Any:
    """The sympy object that `latex` stands for, floats made exact and symbols unified by name; or None."""
    text = latex.replace("\n", " ").replace("$", "")
    text = _PRIMES.sub(lambda match: f"{match[1]}_{{{'p' * len(match[2])}}}", text)
    for pattern, variable in _NOT_CONSTANTS:
        text = pattern.sub(variable, text)
    text = normalize_latex(text, _NORMALIZATION)
    try:
        value = latex2sympy(
            text,
            is_real=not should_treat_as_complex(text),
            convert_degrees=False,
            normalization_config=None,
            conversion_config=_CONVERSION,
        )
    except (RecursionError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - the generated parser raises bare exceptions for what it cannot read
        return None
    # A relation between numbers is nothing but true or false, and all true ones would be equal.
    settled = isinstance(value, sympy.logic.boolalg.Boolean) and not value.free_symbols
    return None if settled else _exact(value)


def _exact(value: Any) -> Any:
    if isinstance(value, sympy.MatrixExpr):
        value = value.doit()
    if isinstance(value, sympy.MatrixBase):
        return value.applyfunc(_exact)
    if not isinstance(value, sympy.Basic):
        return value
    real = not isinstance(value, sympy.Expr)
    swaps: dict[Any, Any] = {number: sympy.Rational(str(number)) for number in value.atoms(sympy.Float)}
    for symbol in value.atoms(sympy.Symbol):
        name = str(symbol)
        swaps[symbol] = sympy.I if name == "i" else sympy.Symbol(name, real=True if real else None)
    value = value.xreplace(swaps)
    if value.has(sympy.Limit, sympy.Derivative):
        value = value.doit()
    return value.replace(sympy.UnevaluatedExpr, lambda inner: inner)
