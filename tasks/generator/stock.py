"""Word problems about things that come and go: buses, shops, libraries, accounts over several days."""

from __future__ import annotations

from tasks.generator.draft import Draft, Redraw
from tasks.generator.registry import word
from tasks.generator.vocabulary import FOOD, FRUIT, GOODS, SMALL_THINGS

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")


@word("bus_stops")
def bus_stops(t: Draft) -> str:
    """People get on and off at some stops."""
    value = t.medium()
    told = [t.say(f"A bus starts with {value} people.", f"There are {value} people on a bus.")]
    for number in range(1, t.between(3, 4) + 1):
        off, on = t.between(1, max(1, value - 1)), t.small()
        off = min(off, t.ranges.small[1])
        value = t.add(f"stop {'abcd'[number - 1]}", t.sub("after off", value, off), on)
        told.append(f"{'Then' if number > 1 else 'First'} {off} get off and {on} get on.")
    return " ".join(told) + " How many people are on the bus now?"


@word("shop_days")
def shop_days(t: Draft) -> str:
    """A stock over three to five days of sales and deliveries."""
    thing, value = t.pick(GOODS), t.large()
    told = [t.say(f"A shop has {value} {thing}.", f"There are {value} {thing} in a shop.")]
    start = t.between(0, 1)
    for day in _DAYS[start : start + t.between(3, 5)]:
        x = t.medium()
        if t.rng.random() < 0.6:
            value = t.sub(day.lower(), value, x)
            told.append(t.say(f"On {day} {x} are sold.", f"{day}: {x} sold."))
        else:
            value = t.add(day.lower(), value, x)
            told.append(t.say(f"On {day} {x} come in.", f"{day}: {x} delivered."))
    return " ".join(told) + f" How many {thing} are there in the end?"


@word("account")
def account(t: Draft) -> str:
    """Money in and out, some of it by multiplication."""
    who, value = t.name(), t.large()
    told = [f"{who} has ${value}."]
    for _ in range(3):
        n, p = t.small(), t.medium()
        if t.rng.random() < 0.5:
            value = t.sub("left", value, t.mul("cost", n, p))
            told.append(f"{who} buys {n} {t.pick(GOODS)} at ${p} each.")
        else:
            value = t.add("money", value, t.mul("pay", n, p))
            told.append(f"{who} works {n} hours for ${p} an hour.")
    return " ".join(told) + f" How much money does {who} have now?"


@word("deliveries")
def deliveries(t: Draft) -> str:
    """Boxes in, boxes out, the value of the rest."""
    fruit, start, n, size, m, price = t.pick(FRUIT), t.large(), t.small(), t.medium(), t.small(), t.small()
    came = t.mul("came", n, size)
    stock = t.add("stock", start, came)
    out = t.mul("sold", m, size)
    left = t.sub("left", stock, out)
    t.mul("worth", left, price)
    return t.say(
        f"A store has {start} {fruit}. {n} boxes of {size} {fruit} come in and {m} boxes of the same size "
        f"are sold. One of the {fruit} is worth ${price}. What is the rest worth?",
        f"{fruit.capitalize()} come in boxes of {size}. A store with {start} loose {fruit} gets {n} boxes "
        f"and sells {m}. At ${price} a piece, what is the stock worth?",
    )


@word("library")
def library(t: Draft) -> str:
    """Shelves of books, some lent and some brought back."""
    n, size, lent, back, new = t.small(), t.medium(), t.large(), t.medium(), t.small()
    total = t.mul("books", n, size)
    if lent >= total or back >= lent:
        raise Redraw
    left = t.sub("after lending", total, lent)
    there = t.add("after return", left, back)
    t.add("now", there, new)
    return t.say(
        f"A library has {n} shelves with {size} books each. {lent} books are lent, {back} of them come "
        f"back and {new} new ones are bought. How many books are in the library?",
        f"From {n} shelves of {size} books {lent} are lent out. Later {back} are returned and {new} added. "
        f"How many books are there then?",
    )


@word("tickets")
def tickets(t: Draft) -> str:
    """Three kinds of tickets and the cost of the hall."""
    a, b, c, p, q = t.medium(), t.medium(), t.small(), t.medium(), t.small()
    adults = t.mul("adults", a, p)
    children = t.mul("children", b, q)
    price = t.add("box price", p, q)
    boxes = t.mul("boxes", c, price)
    total = t.add("money", adults, children, boxes)
    hall = t.between(total // 5 + 1, total - 1)
    t.sub("profit", total, hall)
    return t.say(
        f"A play sells {a} adult tickets at ${p}, {b} child tickets at ${q} and {c} family tickets that "
        f"cost as much as one of each. The hall is ${hall}. What is the profit?",
        f"Adults pay ${p}, children ${q}, a pair ticket costs the sum of both. {a} adults, {b} children "
        f"and {c} pairs come and the hall costs ${hall}. What remains?",
    )


@word("ticket_mix")
def ticket_mix(t: Draft) -> str:
    """Number of the other tickets from the money."""
    a, p, b, q = t.medium(), t.small(), t.medium(), t.small()
    money = a * p + b * q
    adults = t.mul("adults", a, p)
    rest = t.sub("from children", money, adults)
    children = t.div("children", rest, q)
    t.add("people", a, children)
    return t.say(
        f"A zoo takes ${money} in a day. Adults pay ${p} and children ${q}. {a} adults came. How many "
        f"people came in all?",
        f"{a} adults at ${p} each and some children at ${q} each paid ${money} together. How many people "
        f"is that?",
    )


@word("bakery_day")
def bakery_day(t: Draft) -> str:
    """A baker's day with two sales prices."""
    thing, n, size, k, p, less = t.pick(FOOD), t.small(), t.medium(), t.large(), t.small(), t.between(1, 4)
    total = t.mul("baked", n, size)
    left = t.sub("left", total, k)
    first = t.mul("morning", k, p)
    low = t.sub("low price", p, less)
    second = t.mul("evening", left, low)
    t.add("money", first, second)
    return t.say(
        f"A baker makes {n} trays of {size} {thing} and sells {k} at ${p} each. In the evening the others "
        f"go for ${less} less each. How much money does the baker get?",
        f"{n} trays with {size} {thing} each are baked. {k} sell for ${p} each and the rest later for "
        f"${less} less. How much money comes in?",
    )


@word("collection_swap")
def collection_swap(t: Draft) -> str:
    """A swap of things between two people."""
    (a, b), thing, x, y, n, k = (
        t.names(2),
        t.pick(SMALL_THINGS),
        t.medium(),
        t.medium(),
        t.small(),
        t.between(2, 5),
    )
    gets = t.mul("swap", n, k)
    more = t.add(a, t.sub(f"{a} after giving", x, n), gets)
    less = t.add(b, t.sub(f"{b} after giving", y, gets), n)
    t.sub("difference", more, less)
    return t.say(
        f"{a} has {x} {thing}, {b} has {y}. {a} gives {n} to {b} and gets {k} for each of them. How many "
        f"more does {a} have than {b} then?",
        f"{b} has {y} {thing} and gives {a}, who has {x}, {k} for each of {n} that {a} gives. How many "
        f"{thing} is {a} ahead of {b} after that?",
    )
