"""Word problems about rates of work: makers, machines, pages."""

from __future__ import annotations

from tasks.generator.draft import Draft
from tasks.generator.registry import word
from tasks.generator.vocabulary import WORK


@word("two_workers")
def two_workers(t: Draft) -> str:
    """Two rates together, some pieces rejected."""
    (a, b), thing, v, w, hours = t.names(2), t.pick(WORK), t.medium(), t.medium(), t.small()
    rate = t.add("rate", v, w)
    made = t.mul("made", rate, hours)
    bad = t.between(1, made // 4)
    t.sub("good", made, bad)
    return t.say(
        f"{a} makes {v} {thing} an hour and {b} makes {w}. They work {hours} hours and {bad} {thing} are "
        f"bad. "
        f"How many good ones are there?",
        f"In one hour {b} makes {w} {thing}, {a} {v}. After {hours} hours together, {bad} are thrown away. "
        f"How many {thing} are kept?",
    )


@word("join_later")
def join_later(t: Draft) -> str:
    """One starts alone, another joins."""
    (a, b), thing, v, w, x, y = t.names(2), t.pick(WORK), t.small(), t.medium(), t.small(), t.small()
    alone = t.mul("alone", v, x)
    rate = t.add("rate", v, w)
    both = t.mul("together", rate, y)
    t.add("total", alone, both)
    return t.say(
        f"{a} makes {v} {thing} an hour and works {x} hours alone. Then {b}, who makes {w} an hour, joins "
        f"for {y} more "
        f"hours. How many {thing} do they make?",
        f"{a} packs {v} {thing} an hour, {b} packs {w}. {a} begins and {b} comes {x} hours later; then "
        f"both work {y} "
        f"hours. How many {thing} are packed?",
    )


@word("order_time")
def order_time(t: Draft) -> str:
    """How long the rest of an order takes."""
    (a, b), thing, v, w, x, y = t.names(2), t.pick(WORK), t.small(), t.small(), t.small(), t.small()
    order = v * x + (v + w) * y
    alone = t.mul("alone", v, x)
    left = t.sub("left", order, alone)
    rate = t.add("rate", v, w)
    t.div("hours", left, rate)
    return t.say(
        f"An order is {order} {thing}. {a} makes {v} an hour and works {x} hours alone. Then {b} helps "
        f"with {w} an hour. "
        f"How many hours do both work together?",
        f"{a} must make {order} {thing} at {v} an hour. After {x} hours {b} joins and makes {w} an hour. "
        f"In how many more hours is the order done?",
    )


@word("machines")
def machines(t: Draft) -> str:
    """From some machines to others at the same rate."""
    thing, n, m, each, hours = t.pick(WORK), t.small(), t.small(), t.medium(), t.small()
    per_machine = t.div("one machine", n * each, n)
    rate = t.mul("an hour", per_machine, m)
    t.mul("made", rate, hours)
    return t.say(
        f"{n} machines make {n * each} {thing} in an hour. How many {thing} do {m} machines make in "
        f"{hours} hours?",
        f"In one hour {n * each} {thing} come from {n} equal machines. How many come from {m} machines in "
        f"{hours} hours?",
    )


@word("worker_days")
def worker_days(t: Draft) -> str:
    """Workers times days is constant."""
    first, more, days, k = t.small(), t.small(), t.medium(), t.small()
    crew = first + more
    days = days - days % crew + crew if k % 2 else days
    work = t.mul("worker days", first, days)
    now = t.add("workers", first, more)
    t.div("days", work, now)
    return t.say(
        f"{first} workers need {days} days for a road. {more} more workers come before the start. "
        f"How many days does the road take?",
        f"A wall takes {first} men {days} days. How many days does it take if {more} more men help from "
        f"the start?",
    )


@word("pages_read")
def pages_read(t: Draft) -> str:
    """Days to read the rest of a book."""
    who, p, d, q, rest = t.name(), t.medium(), t.small(), t.small(), t.medium()
    book = p * d + q * rest
    done = t.mul("read", p, d)
    left = t.sub("left", book, done)
    more = t.div("days left", left, q)
    t.add("days", d, more)
    return t.say(
        f"A book has {book} pages. {who} reads {p} pages a day for {d} days, then {q} a day. "
        f"How many days does the book take?",
        f"{who} reads {p} pages on each of the first {d} days and {q} pages a day after that. The book has "
        f"{book} "
        f"pages. On how many days does {who} read?",
    )


@word("tank")
def tank(t: Draft) -> str:
    """Inflow and outflow of a tank."""
    flow, leak, hours, start = t.medium(), t.small(), t.small(), t.large()
    net = t.sub("net", flow, leak)
    gain = t.mul("gain", net, hours)
    now = t.add("now", start, gain)
    size = now + t.large()
    t.sub("missing", size, now)
    return t.say(
        f"A tank of {size} litres holds {start}. Each hour {flow} litres flow in and {leak} leak out. "
        f"How many litres are missing to full after {hours} hours?",
        f"{flow} litres an hour run into a tank, {leak} litres an hour run out. It had {start} litres and "
        f"can hold "
        f"{size}. After {hours} hours, how many litres still fit?",
    )


@word("typing", 60)
def typing(t: Draft) -> str:
    """Words per minute over an hour and more."""
    (a, b), v, more, minutes = t.names(2), t.small(), t.small(), t.medium()
    rate = t.add(f"rate of {b}", v, more)
    both = t.add("both", v, rate)
    time = t.add("minutes", 60, minutes)
    t.mul("lines", both, time)
    return t.say(
        f"{a} types {v} lines a minute, {b} {more} more than {a}. How many lines do both type in one hour "
        f"and {minutes} "
        f"minutes?",
        f"In a minute {a} types {v} lines and {b} types {more} more. They type for an hour and {minutes} "
        f"minutes. "
        f"How many lines is that together?",
    )
