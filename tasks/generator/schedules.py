"""Word problems about time, units and sequences: minutes, weeks, dozens, growth from day to day."""

from __future__ import annotations

from tasks.generator.draft import Draft
from tasks.generator.registry import word
from tasks.generator.vocabulary import FOOD, GOODS, SMALL_THINGS


@word("practice", 7, 60)
def practice(t: Draft) -> str:
    """Minutes a day over weeks, less some, in hours."""
    who, minutes, weeks = t.name(), t.pick((15, 20, 25, 30, 40, 45, 50)), t.small()
    days = t.mul("days", weeks, 7)
    total = t.mul("minutes", days, minutes)
    missed = total % 60 + 60 * t.between(0, 3)
    if missed == 0:
        missed = 60
    done = t.sub("done", total, missed)
    t.div("hours", done, 60)
    return t.say(
        f"{who} plans to play the flute {minutes} minutes a day for {weeks} weeks but misses {missed} "
        f"minutes in all. How many hours does {who} play?",
        f"For {weeks} weeks {who} wants to swim {minutes} minutes every day. In all {missed} minutes are "
        f"left out. How many hours does {who} swim?",
    )


@word("hours_minutes", 60)
def hours_minutes(t: Draft) -> str:
    """Hours and minutes in minutes, shared among tasks."""
    who, hours, minutes, n = t.name(), t.small(), t.between(1, 11) * 5, t.small()
    first = t.mul("hours in minutes", hours, 60)
    total = t.add("minutes", first, minutes)
    rest = total % n + n * t.between(0, 3)
    if rest == 0:
        rest = n
    work = t.sub("for tasks", total, rest)
    t.div("each", work, n)
    return t.say(
        f"{who} has {hours} hours and {minutes} minutes for {n} equal tasks and takes a break of {rest} "
        f"minutes. How many minutes are there for each task?",
        f"{n} lessons of the same length and pauses of {rest} minutes in all take {hours} hours and "
        f"{minutes} minutes. How many minutes is one lesson?",
    )


@word("dozens", 12)
def dozens(t: Draft) -> str:
    """Dozens, broken ones, packs."""
    n, size, packs, price = t.small(), t.between(3, 10), t.small(), t.small()
    total = t.mul("eggs", n, 12)
    broken = total - size * packs
    if broken < 1:
        broken = total % size + size
    good = t.sub("good", total, broken)
    count = t.div("packs", good, size)
    t.mul("money", count, price)
    return t.say(
        f"A farm has {n} dozen eggs. {broken} eggs break. The others are sold in packs of {size} at "
        f"${price} a pack. How much money is that?",
        f"Of {n} dozen eggs {broken} are broken. Packs of {size} good eggs bring ${price} each. What do "
        f"they bring in all?",
    )


@word("growing_days")
def growing_days(t: Draft) -> str:
    """Each day a fixed number more than the day before."""
    who, thing, first, more = t.name(), t.pick(SMALL_THINGS), t.medium(), t.small()
    second = t.add("day two", first, more)
    third = t.add("day three", second, more)
    fourth = t.add("day four", third, more)
    start = t.add("two days", first, second)
    end = t.add("other days", third, fourth)
    t.add("total", start, end)
    return t.say(
        f"{who} collects {first} {thing} on the first day and each day {more} more than on the day before. "
        f"How many {thing} is that in four days?",
        f"On day one {who} finds {first} {thing}. Every next day it is {more} more. How many {thing} does "
        f"{who} find in the first four days?",
    )


@word("doubling_days", 2)
def doubling_days(t: Draft) -> str:
    """Each day twice the day before, in three days."""
    who, thing, first, lost = t.name(), t.pick(GOODS), t.medium(), t.small()
    second = t.mul("second day", first, 2)
    third = t.mul("third day", second, 2)
    total = t.add("total", first, second, third)
    t.sub("kept", total, lost)
    return t.say(
        f"{who} sells {first} {thing} on one day and each day twice as many as on the day before. {lost} "
        f"are given back. How many are sold for good in three days?",
        f"Sales of {thing} double from day to day. On the first of three days {first} are sold, and {lost} "
        f"come back in the end. How many stay sold?",
    )


@word("sequence_term", 1)
def sequence_term(t: Draft) -> str:
    """A term of an arithmetic sequence."""
    first, step, n = t.medium(), t.small(), t.medium()
    gaps = t.sub("gaps", n, 1)
    rise = t.mul("rise", gaps, step)
    t.add("number", first, rise)
    return t.say(
        f"A row of numbers begins with {first} and each number is {step} more than the one before. What is "
        f"number {n} of the row?",
        f"In a hall the first row has {first} seats and every row has {step} more than the row before. How "
        f"many seats has row {n}?",
    )


@word("sequence_sum", 1, 2)
def sequence_sum(t: Draft) -> str:
    """The sum of an arithmetic sequence."""
    first, step, n = t.small(), t.small(), t.small()
    gaps = t.sub("gaps", n, 1)
    rise = t.mul("rise", gaps, step)
    last = t.add("last row", first, rise)
    ends = t.add("ends", first, last)
    double = t.mul("twice", ends, n)
    t.div("seats", double, 2)
    return t.say(
        f"A hall has {n} rows. The first has {first} seats and each next row has {step} more. How many "
        f"seats are in the hall?",
        f"Logs lie in {n} layers: {first} on top and in each layer below {step} more. How many logs are "
        f"there in all?",
    )


@word("week_shifts", 5, 2)
def week_shifts(t: Draft) -> str:
    """Work on weekdays and at the weekend, over weeks, paid."""
    who, a, b, weeks, pay = t.name(), t.between(2, 9), t.between(2, 9), t.small(), t.small()
    first = t.mul("weekdays", a, 5)
    second = t.mul("weekend", b, 2)
    week = t.add("a week", first, second)
    hours = t.mul("hours", week, weeks)
    t.mul("money", hours, pay)
    return t.say(
        f"{who} works {a} hours on each of the five weekdays and {b} hours on each day of the weekend, at "
        f"${pay} an hour. How much does {who} earn in {weeks} weeks?",
        f"In {weeks} weeks, what does {who} earn at ${pay} an hour, with {b} hours on Saturday and on "
        f"Sunday and {a} hours on all other days?",
    )


@word("metres_cut", 100)
def metres_cut(t: Draft) -> str:
    """A ribbon in metres cut into pieces in centimetres."""
    who, metres, size = t.name(), t.small(), t.between(5, 45)
    length = t.mul("cm", metres, 100)
    n = t.between(2, max(2, length // size - 1))
    used = t.mul("used", n, size)
    left = t.sub("left", length, used)
    extra = t.between(1, 60)
    t.add("with other piece", left, extra)
    return t.say(
        f"{who} cuts {n} pieces of {size} cm from {metres} m of ribbon and finds another piece of {extra} "
        f"cm. How many cm of ribbon are left?",
        f"From a rope of {metres} m {who} takes {n} pieces of {size} cm. With another {extra} cm found in "
        f"a box, how many cm remain?",
    )


@word("oven_batches")
def oven_batches(t: Draft) -> str:
    """Batches in an oven, with time to clean."""
    thing, size, n, bake, rest, prep = (
        t.pick(FOOD),
        t.small(),
        t.small(),
        t.medium(),
        t.between(2, 9),
        t.medium(),
    )
    batches = t.div("batches", size * n, size)
    one = t.add("one batch", bake, rest)
    time = t.mul("all batches", batches, one)
    t.add("minutes", time, prep)
    return t.say(
        f"{size * n} {thing} are baked, {size} at a time. A batch bakes {bake} minutes and after each one "
        f"the oven is cleaned for {rest} minutes. The dough takes {prep} minutes. How many minutes is that?",
        f"An oven takes {size} {thing}. Each batch needs {bake} minutes and {rest} minutes to clean up. "
        f"With {prep} minutes for the dough, how many minutes do {size * n} {thing} take?",
    )
