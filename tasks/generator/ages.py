"""Word problems about ages."""

from __future__ import annotations

from tasks.generator.draft import Draft, Redraw
from tasks.generator.registry import word

_OLDEST = 99


def _check(*ages: int) -> None:
    """Draw again if nobody gets so old."""
    if max(ages) > _OLDEST:
        raise Redraw


@word("ages_later")
def ages_later(t: Draft) -> str:
    """A multiple now, the sum later."""
    (a, b), age, k, years = t.names(2), t.small(), t.between(2, 6), t.medium()
    older = t.mul(a, k, age)
    first = t.add(f"{a} later", older, years)
    second = t.add(f"{b} later", age, years)
    _check(first)
    t.add("sum", first, second)
    return t.say(
        f"{a} is {k} times as old as {b}, who is {age}. What is the sum of their ages in {years} years?",
        f"{b} is {age} years old and {a} is {k} times that age. How old will they be together in {years} "
        f"years?",
    )


@word("ages_chain")
def ages_chain(t: Draft) -> str:
    """Four people, each compared with another."""
    (a, b, c, d), age, x, y, k = t.names(4), t.medium(), t.small(), t.small(), t.between(2, 4)
    second = t.add(b, age, x)
    third = t.sub(c, second, y)
    fourth = t.mul(d, third, k)
    t.add("all", age, second, third, fourth)
    _check(age, second, fourth)
    return t.say(
        f"{a} is {age}. {b} is {x} years older than {a}, {c} is {y} years younger than {b}, and {d} is {k} "
        f"times as old "
        f"as {c}. What do their ages add up to?",
        f"{d} is {k} times as old as {c}. {c} is {y} years younger than {b}. {b} is {x} years older than "
        f"{a}, who is "
        f"{age}. What is the sum of all four ages?",
    )


@word("ages_past")
def ages_past(t: Draft) -> str:
    """A multiple in the past, the age today or later."""
    (a, b), past, k, ago, later = t.names(2), t.small(), t.between(2, 6), t.medium(), t.small()
    then = t.sub(f"{b} then", past + ago, ago)
    older = t.mul(f"{a} then", then, k)
    now = t.add(f"{a} now", older, ago)
    _check(t.add("later", now, later))
    return t.say(
        f"{b} is {past + ago}. {ago} years ago {a} was {k} times as old as {b}. How old will {a} be in "
        f"{later} years?",
        f"{ago} years ago {a} had {k} times the age of {b}, who is {past + ago} now. "
        f"What will be the age of {a} {later} years from now?",
    )


@word("ages_sum", 2)
def ages_sum(t: Draft) -> str:
    """Sum and difference of two ages."""
    (a, b), young, gap, years = t.names(2), t.medium(), t.small(), t.small()
    total = 2 * young + gap
    double = t.sub("twice", total, gap)
    younger = t.div(b, double, 2)
    older = t.add(a, younger, gap)
    _check(t.add("later", older, years))
    return t.say(
        f"{a} and {b} are {total} years old together and {a} is {gap} years older than {b}. "
        f"How old is {a} in {years} years?",
        f"{b} is {gap} years younger than {a}. Together they are {total}. What is the age of {a} {years} "
        f"years later?",
    )


@word("ages_ratio", 1)
def ages_ratio(t: Draft) -> str:
    """When one is a given multiple of the other in years to come."""
    (a, b), k, young, years = t.names(2), t.between(2, 5), t.small(), t.small()
    older = young + (k - 1) * (young + years)
    gap = t.sub("gap", older, young)
    parts = t.sub("parts", k, 1)
    then = t.div(f"{b} then", gap, parts)
    t.sub("years", then, young)
    _check(then * k)
    return t.say(
        f"{a} is {older} and {b} is {young}. In how many years is {a} {k} times as old as {b}?",
        f"{b} is {young} years old, {a} is {older}. After how many years will {a} be {k} times as old as "
        f"{b}?",
    )
