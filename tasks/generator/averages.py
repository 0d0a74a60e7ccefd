"""Word problems about averages: mean, missing value, new mean, two groups."""

from __future__ import annotations

from tasks.generator.draft import Draft, Redraw
from tasks.generator.registry import word
from tasks.generator.vocabulary import SMALL_THINGS

_COUNT_WORDS = {2: "two", 3: "three", 4: "four", 5: "five"}


@word("mean_of_days", 2, 3, 4)
def mean_of_days(t: Draft) -> str:
    """Mean of three or four days, the last one told by comparison."""
    who, thing, more, n = t.name(), t.pick(SMALL_THINGS), t.small(), t.between(3, 4)
    days = [t.medium() for _ in range(n - 1)]
    more += -(sum(days) + days[-1] + more) % n
    last = t.add("last day", days[-1], more)
    total = t.add("total", *days, last)
    t.div("average", total, n)
    listed = ", ".join(map(str, days))
    return t.say(
        f"{who} finds {listed} {thing} on {_COUNT_WORDS[n - 1]} days, and on the next day {more} more than "
        f"on the day "
        f"before. What is the average per day?",
        f"On {_COUNT_WORDS[n - 1]} days {who} sold {listed} {thing}. The day after it was {more} more than "
        f"on the last "
        f"of these. What is the average of all days?",
    )


@word("missing_score")
def missing_score(t: Draft) -> str:
    """What the last test must give for an average."""
    who, count, mean = t.name(), t.between(3, 4), t.medium() + 20
    scores = [mean + t.between(-12, 12) for _ in range(count - 1)]
    total = t.mul("needed", mean, count)
    have = t.add("so far", *scores)
    t.sub("last", total, have)
    listed = ", ".join(map(str, scores))
    return t.say(
        f"{who} scores {listed} in tests. There are {count} tests in all. What must the last score be for an "
        f"average of {mean}?",
        f"After scores of {listed} {who} wants an average of {mean} over {count} tests. "
        f"How many points must the last test bring?",
    )


@word("new_average", 1)
def new_average(t: Draft) -> str:
    """The mean after one more value."""
    who, n, mean, up = t.name(), t.small(), t.medium(), t.between(1, 5)
    old = t.mul("old total", n, mean)
    new = (mean + up) * (n + 1) - old
    total = t.add("new total", old, new)
    count = t.add("games", n, 1)
    t.div("average", total, count)
    return t.say(
        f"In {n} games {who} scored {mean} points on average. In the next game {who} scores {new}. "
        f"What is the average now?",
        f"{who} has an average of {mean} over {n} games. With {new} points in one more game, what is the "
        f"new average?",
    )


@word("two_groups")
def two_groups(t: Draft) -> str:
    """Mean of two groups of different size."""
    n, m, x, mean = t.small(), t.small(), t.medium(), t.medium()
    rest = mean * (n + m) - n * x
    if rest % m or rest <= 0:
        raise Redraw
    y = rest // m
    first = t.mul("first group", n, x)
    second = t.mul("second group", m, y)
    total = t.add("total", first, second)
    people = t.add("people", n, m)
    t.div("average", total, people)
    return t.say(
        f"{n} boxes weigh {x} kg each and {m} crates weigh {y} kg each. What is the average weight of all "
        f"of them?",
        f"A group of {n} walks {x} km each and a group of {m} walks {y} km each. How many km is that on "
        f"average per person?",
    )


@word("average_gap")
def average_gap(t: Draft) -> str:
    """Difference between the averages of two people."""
    (a, b), days, x, more, k = t.names(2), t.small(), t.medium(), t.small(), t.small()
    first = t.div(f"{a} a day", days * (x + more), days)
    second = t.div(f"{b} a day", k * x, k)
    t.sub("difference", first, second)
    return t.say(
        f"{a} reads {days * (x + more)} pages in {days} days, {b} reads {k * x} pages in {k} days. "
        f"How many more pages a day does {a} read?",
        f"In {k} days {b} runs {k * x} laps, in {days} days {a} runs {days * (x + more)} laps. "
        f"How many laps a day is {a} ahead of {b}?",
    )
