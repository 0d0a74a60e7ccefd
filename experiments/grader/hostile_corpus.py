r"""A seeded generator of hostile answers: expensive, huge, malformed, or written to be executed.

`answers(count, seed, canary)` gives `count` different texts, taken in turn from the families below. Those in
the shape of code try to create the file `canary`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

Family = Callable[[random.Random], str]


def tower(pick: random.Random) -> str:
    base, height = pick.randint(2, 99), pick.randint(2, 9)
    style = pick.choice(["{}^{{{}}}", "{}**({})", "({})^{{{}}}", "{}^{}"])
    text = str(pick.randint(2, 99))
    for _ in range(height):
        text = style.format(base, text)
    return text


def large_power(pick: random.Random) -> str:
    base = pick.choice(["x", "(x+1)", "(x+y+z)", "7", r"\sqrt{2}", "(1+i)", r"\left(\frac{3}{2}\right)", "e"])
    return f"{base}^{{{pick.randint(2000, 10**9)}}}" + pick.choice(["", "+1", "-x", r"\cdot x"])


def nested_powers(pick: random.Random) -> str:
    text = pick.choice(["9", "x", "(x+y)"])
    for _ in range(pick.randint(2, 6)):
        text = f"({text})^{{{pick.randint(90, 9999)}}}"
    return text


def factorial(pick: random.Random) -> str:
    number = pick.randint(10, 10 ** pick.randint(2, 12))
    return pick.choice(
        [f"{number}!", f"({number}!)!", f"{number}!!!!", f"\\frac{{{number}!}}{{{number - 1}!}}"]
    )


def binomial(pick: random.Random) -> str:
    top = pick.randint(10**3, 10**9)
    return f"{pick.choice(['', 'x', '2'])}\\binom{{{top}}}{{{top // pick.randint(2, 9)}}}"


def brackets(pick: random.Random) -> str:
    opening, closing = pick.choice(["()", "[]", "{}", ("\\left(", "\\right)"), ("\\{", "\\}"), ("|", "|")])
    depth = pick.randint(20, 2000)
    return (
        opening * depth + pick.choice(["1", "x", ""]) + closing * pick.choice([depth, depth - 1, depth // 2])
    )


def nested_command(pick: random.Random) -> str:
    command = pick.choice(
        [r"\frac{1}{", r"\sqrt{", r"\frac{x}{1+", r"\text{", r"\boxed{", r"\sqrt[3]{", r"\ln{"]
    )
    depth = pick.randint(10, 400)
    return command * depth + "2" + "}" * pick.choice([depth, depth - 1])


def long_text(pick: random.Random) -> str:
    piece = pick.choice(
        ["1", "x", "+1", "1,", "\\", "{", "}", "^", "_", " ", "=", "\\frac", "é", "\n", "<", "$"]
    )
    return piece * pick.choice([3000, 4000, 4097, 100_000, 1_000_000 // len(piece)]) + str(pick.random())


def digits(pick: random.Random) -> str:
    length = pick.choice([200, 256, 257, 2000, 4000])
    text = "".join(pick.choices("0123456789", k=length))
    return pick.choice(
        [text, "0." + text, f"\\frac{{{text}}}{{3}}", f"{text}^2", f"1e{text[:9]}", f"x_{{{text}}}"]
    )


def matrix(pick: random.Random) -> str:
    size = pick.randint(4, 40)
    row = "&".join(pick.choice(["1", "x", r"\frac{1}{x}"]) for _ in range(size))
    body = "\\\\".join([row] * size)
    return f"\\begin{{pmatrix}}{body}\\end{{pmatrix}}" + pick.choice(["", "^{-1}", "^{99}", "^T"])


def unending(pick: random.Random) -> str:
    top = pick.choice([r"\infty", "n", str(pick.randint(10**2, 10**9))])
    term = pick.choice([r"\frac{1}{k}", "k^k", r"\sin k", "(x+k)", "k!", r"\frac{(-1)^k}{k^{x}}"])
    sign = pick.choice([r"\sum", r"\prod"])
    return f"{sign}_{{k={pick.randint(0, 99)}}}^{{{top}}} {term}"


def integral(pick: random.Random) -> str:
    body = pick.choice([r"\frac{\sin x^x}{x^{99}}", "e^{x^2}", "x^x", r"\sqrt{\sin x+x^5}", r"\tan^{17} x"])
    top = pick.choice([r"\infty", "1", str(pick.randint(2, 10**7))])
    return f"\\int_{{{pick.randint(0, 99)}}}^{{{top}}} {body} dx"


def functions(pick: random.Random) -> str:
    name = pick.choice([r"\sin", r"\exp", r"\ln", r"\tan", r"\Gamma", r"\arctan", r"\log_{2}"])
    text = pick.choice(["x", "1", str(10 ** pick.randint(2, 60))])
    for _ in range(pick.randint(3, 40)):
        text = f"{name}({text})"
    return text


def many_parts(pick: random.Random) -> str:
    part = pick.choice(["x_{{{0}}}", "\\sin({0}x)", "({0},{0}+1)", "x^{{{0}}}", "\\sqrt{{{0}}}", "{0}=x"])
    joint = pick.choice([",", "+", "\\cup ", "=", " or ", "<", "\\pm ", ";"])
    return joint.join(part.format(number) for number in range(pick.randint(20, 400)))


def pathological_regex(pick: random.Random) -> str:
    piece = pick.choice(
        ["1,", "1 ", "\\ ", "a a ", "{,}", "\\text{", "\\!", "1_", "((1,2),", "-.", "1/", "\\circ^"]
    )
    return piece * pick.randint(50, 2000) + pick.choice(["", "x", "}", "!"])


def odd_characters(pick: random.Random) -> str:
    marks = [
        "\ud800",
        "\udfff",
        "\x00",
        "\x1b[2J",
        "\u202e",
        "\ufffd",
        "𝟙",
        "٣",
        "½",
        "²",
        "\u200d",
        "\r",
        "Å",
        "∑",
    ]
    return "".join(pick.choices([*marks, "1", "x", "\\frac", "{", "}"], k=pick.randint(1, 60)))


def garbage(pick: random.Random) -> str:
    pieces = [
        r"\frac",
        r"\sqrt",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        "^",
        "_",
        "=",
        ",",
        r"\cup",
        r"\left",
        r"\begin{",
        "&",
    ]
    return "".join(
        pick.choices([*pieces, "1", "x", "\\\\", "$", r"\boxed{", r"\text{or}"], k=pick.randint(5, 90))
    )


def code(pick: random.Random, canary: Path) -> str:
    touch = f"open('{canary}','w')"
    attempts = [
        f"__import__('os').system('touch {canary}')",
        f'exec("{touch}")',
        f"eval(compile(\"{touch}\",'a','eval'))",
        f"().__class__.__base__.__subclasses__()[{pick.randint(0, 400)}]('{canary}','w')",
        f"lambda: {touch}",
        f'sympify("{touch}")',
        f"\\operatorname{{{touch}}}",
        f"x.__class__.__mro__[{pick.randint(0, 9)}]",
        f"f(x)={touch}",
        f"{{{{{touch}}}}}",
        f"\\input{{{canary}}}",
        f"\\write18{{touch {canary}}}",
        f"$(touch {canary})",
        f"'; touch {canary}; '",
        f"parse_expr('{touch}', evaluate=True)",
        f"\\text{{{touch}}}",
    ]
    return pick.choice(attempts) + pick.choice(["", "+1", "=5", f"+{pick.randint(2, 10**6)}"])


FAMILIES: tuple[Family, ...] = (
    tower, large_power, nested_powers, factorial, binomial, brackets, nested_command, long_text, digits,
    matrix, unending, integral, functions, many_parts, pathological_regex, odd_characters, garbage,
)  # fmt: skip


def answers(count: int, seed: int, canary: Path) -> list[tuple[str, str]]:
    """`count` different pairs of family and text."""
    pick = random.Random(seed)
    families: list[Family] = [*FAMILIES, lambda source: code(source, canary)]
    names = [*(family.__name__ for family in FAMILIES), "code"]
    found: dict[str, str] = {}
    turn = 0
    while len(found) < count:
        index = turn % len(families)
        found.setdefault(families[index](pick), names[index])
        turn += 1
    return [(name, text) for text, name in found.items()]
