"""Word problems that compare: more than, fewer than, times as many, in order and out of order."""

from __future__ import annotations

import itertools

from tasks.generator.draft import Draft, Redraw
from tasks.generator.registry import word
from tasks.generator.vocabulary import FRUIT, SMALL_THINGS


@word("more_than_twice", 2)
def more_than_twice(t: Draft) -> str:
    """So many more than twice."""
    (a, b), thing, n, more = t.names(2), t.pick(SMALL_THINGS), t.medium(), t.small()
    double = t.mul("twice", n, 2)
    second = t.add(b, double, more)
    both = t.add("both", n, second)
    lost = t.between(1, both // 2)
    t.sub("left", both, lost)
    return t.say(
        f"{a} has {n} {thing}. {b} has {more} more than twice as many. They lose {lost}. "
        f"How many {thing} do both have left?",
        f"{b} has {more} more than twice the {thing} of {a}, who has {n}. Together they sell {lost}. "
        f"How many {thing} remain?",
    )


@word("less_than_times")
def less_than_times(t: Draft) -> str:
    """So many fewer than some times as many, and the gap."""
    (a, b), thing, n, k, less = t.names(2), t.pick(SMALL_THINGS), t.medium(), t.between(3, 8), t.small()
    times = t.mul("times", n, k)
    second = t.sub(b, times, less)
    t.sub("difference", second, n)
    return t.say(
        f"{a} has {n} {thing}. {b} has {less} fewer than {k} times as many. How many more than {a} does "
        f"{b} have?",
        f"{b} owns {k} times the {thing} of {a} less {less}. {a} owns {n}. By how many is {b} ahead?",
    )


@word("compare_three")
def compare_three(t: Draft) -> str:
    """Three people in a row of comparisons."""
    (a, b, c), thing, n, k, less = t.names(3), t.pick(SMALL_THINGS), t.medium(), t.between(2, 7), t.small()
    second = t.mul(b, n, k)
    third = t.sub(c, second, less)
    t.add("all", n, second, third)
    return t.say(
        f"{a} has {n} {thing}, {b} has {k} times as many as {a}, and {c} has {less} fewer than {b}. "
        f"How many {thing} do they have together?",
        f"{c} has {less} {thing} fewer than {b}. {b} has {k} times as many as {a}. {a} has {n}. "
        f"How many {thing} is that in all?",
    )


@word("shuffled_chain")
def shuffled_chain(t: Draft) -> str:
    """Four or five people whose comparisons are told in random order."""
    people, thing = t.names(t.between(4, 5)), t.pick(SMALL_THINGS)
    value = t.medium()
    told = [f"{people[0]} has {value} {thing}."]
    for before, who in itertools.pairwise(people):
        draw, x = t.rng.random(), t.small()
        if draw < 0.4:
            value = t.add(who, value, x)
            told.append(f"{who} has {x} more than {before}.")
        elif draw < 0.75:
            value = t.sub(who, value, x)
            told.append(f"{who} has {x} fewer than {before}.")
        else:
            factor = t.between(2, 4)
            value = t.mul(who, value, factor)
            told.append(f"{who} has {factor} times as many as {before}.")
    t.rng.shuffle(told)
    return " ".join(told) + f" How many {thing} does {people[-1]} have?"


@word("shuffled_total")
def shuffled_total(t: Draft) -> str:
    """Three people in random order, all compared with one; asks for the total or a difference."""
    (a, b, c), thing, n = t.names(3), t.pick(SMALL_THINGS), t.medium()
    x, k = t.small(), t.between(2, 5)
    more = t.add(b, n, x)
    times = t.mul(c, n, k)
    told = [f"{a} has {n} {thing}.", f"{b} has {x} more than {a}.", f"{c} has {k} times as many as {a}."]
    t.rng.shuffle(told)
    if t.rng.random() < 0.5:
        t.add("all", n, more, times)
        return " ".join(told) + f" How many {thing} do they have in all?"
    t.sub("difference", times, more)
    return " ".join(told) + f" How many {thing} does {c} have more than {b}?"


@word("sum_difference", 2)
def sum_difference(t: Draft) -> str:
    """Two unknown numbers from sum and difference, then a price."""
    (a, b), low, gap, price = t.some(FRUIT, 2), t.medium(), t.small(), t.small()
    total = 2 * low + gap
    double = t.sub("twice", total, gap)
    fewer = t.div(b, double, 2)
    t.mul("money", fewer, price)
    return t.say(
        f"A stall has {total} {a} and {b}, and {gap} more {a} than {b}. The {b} are sold at ${price} each. "
        f"How much money is that?",
        f"There are {gap} fewer {b} than {a} in a crate of {total} fruits of both kinds. Each of the {b} "
        f"costs ${price}. "
        f"What do the {b} cost in all?",
    )


@word("times_total", 1)
def times_total(t: Draft) -> str:
    """A total and a multiple give the parts."""
    (a, b), thing, n, k, given = t.names(2), t.pick(SMALL_THINGS), t.medium(), t.between(2, 8), t.small()
    parts = t.add("parts", k, 1)
    fewer = t.div(b, n * (k + 1), parts)
    more = t.mul(a, fewer, k)
    t.sub("left", more, given)
    return t.say(
        f"{a} and {b} have {n * (k + 1)} {thing}; {a} has {k} times as many as {b}. Then {a} gives {given} "
        f"away. "
        f"How many does {a} have left?",
        f"Together {a} and {b} own {n * (k + 1)} {thing} and {a} owns {k} times as many as {b}. {a} loses "
        f"{given}. "
        f"How many {thing} does {a} still own?",
    )


@word("equal_out", 2)
def equal_out(t: Draft) -> str:
    """How many one must give so that both have the same."""
    (a, b), thing, n, gap, extra = t.names(2), t.pick(SMALL_THINGS), t.medium(), t.small(), t.small()
    if (2 * gap) == extra:
        raise Redraw
    rich = n + 2 * gap + extra
    left = t.sub(f"{a} now", rich, extra)
    more = t.sub("difference", left, n)
    t.div("give", more, 2)
    return t.say(
        f"{a} has {rich} {thing} and loses {extra}. {b} has {n}. How many must {a} now give to {b} so that "
        f"both have the "
        f"same number?",
        f"{b} has {n} {thing}. {a} had {rich} but sold {extra}. How many {thing} does {a} give {b} to make "
        f"them equal?",
    )
