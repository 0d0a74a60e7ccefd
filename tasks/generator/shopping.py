"""Word problems about buying: totals, change, coupons, bulk prices, shared bills."""

from __future__ import annotations

from tasks.generator.draft import Draft
from tasks.generator.registry import word
from tasks.generator.vocabulary import FOOD, FRUIT, GOODS, SHOPS


@word("two_items")
def two_items(t: Draft) -> str:
    """Cost of two kinds of goods."""
    who, (a, b) = t.name(), t.some(GOODS, 2)
    n, p, m, q = t.small(), t.medium(), t.small(), t.medium()
    first = t.mul(a, n, p)
    second = t.mul(b, m, q)
    t.add("total", first, second)
    return t.say(
        f"{who} buys {n} {a} for ${p} each and {m} {b} for ${q} each. How much does {who} pay in total?",
        f"At the {t.pick(SHOPS)} {a} cost ${p} each and {b} cost ${q} each. What do {n} {a} and {m} {b} "
        f"cost?",
        f"{who} needs {n} {a} and {m} {b}. One of the {a} costs ${p}, one of the {b} ${q}. What is the "
        f"total?",
    )


@word("change")
def change(t: Draft) -> str:
    """Change from one payment."""
    who, thing, n, p = t.name(), t.pick(GOODS), t.small(), t.medium()
    cost = t.mul("cost", n, p)
    paid = (cost // 50 + t.between(1, 2)) * 50
    t.sub("change", paid, cost)
    return t.say(
        f"{who} buys {n} {thing} at ${p} each and pays with ${paid}. How much change does {who} get?",
        f"{thing.capitalize()} cost ${p} each. {who} has ${paid} and buys {n}. How many dollars are left?",
        f"With ${paid} in the purse, {who} pays for {n} {thing} that cost ${p} each. How much money remains?",
    )


@word("coupon")
def coupon(t: Draft) -> str:
    """Three kinds of goods less a coupon."""
    who, (a, b, c), off = t.name(), t.some(GOODS, 3), t.small()
    n, p, m, q, r = t.small(), t.small(), t.small(), t.medium(), t.medium()
    first = t.mul(a, n, p)
    second = t.mul(b, m, q)
    total = t.add("total", first, second, r)
    t.sub("after coupon", total, off)
    return t.say(
        f"{who} buys {n} {a} at ${p} each, {m} {b} at ${q} each and a set of {c} for ${r}. "
        f"A coupon takes ${off} off. How much does {who} pay?",
        f"{who} has a coupon for ${off} off. {a.capitalize()} are ${p} each, {b} are ${q} each, a set of "
        f"{c} is "
        f"${r}. What do {n} {a}, {m} {b} and the set cost?",
    )


@word("bulk_saving")
def bulk_saving(t: Draft) -> str:
    """Packs against single pieces."""
    who, thing, packs, size, single = t.name(), t.pick(GOODS), t.small(), t.small(), t.small()
    pieces = t.mul("pieces", packs, size)
    alone = t.mul("single price", pieces, single)
    price = size * single - t.between(1, max(1, size * single // 3))
    bulk = t.mul("pack price", packs, price)
    t.sub("saved", alone, bulk)
    return t.say(
        f"A pack of {size} {thing} costs ${price}. Sold singly they are ${single} each. How much does "
        f"{who} save by "
        f"buying {packs} packs and not the same number one by one?",
        f"{who} buys {packs} packs of {size} {thing}. A pack is ${price}, a single piece ${single}. "
        f"How many dollars cheaper are the packs than single pieces?",
    )


@word("notes_change")
def notes_change(t: Draft) -> str:
    """Change of two purchases paid with several notes."""
    who, (a, b), note = t.name(), t.some(GOODS, 2), t.pick((20, 50))
    n, p, m, q = t.small(), t.small(), t.small(), t.medium()
    first = t.mul(a, n, p)
    second = t.mul(b, m, q)
    total = t.add("total", first, second)
    count = total // note + t.between(1, 2)
    paid = t.mul("paid", count, note)
    t.sub("change", paid, total)
    return t.say(
        f"{who} buys {n} {a} at ${p} and {m} {b} at ${q}, and pays with {count} notes of ${note}. "
        f"How much change is due?",
        f"With {count} notes of ${note} {who} pays for {m} {b} at ${q} each and {n} {a} at ${p} each. "
        f"What is the change?",
    )


@word("buy_more")
def buy_more(t: Draft) -> str:
    """How many of another thing the rest of the money buys."""
    who, (a, b) = t.name(), t.some(FRUIT, 2)
    n, p, q, many = t.small(), t.small(), t.small(), t.medium()
    money = n * p + q * many
    spent = t.mul("spent", n, p)
    left = t.sub("left", money, spent)
    t.div(b, left, q)
    return t.say(
        f"{who} has ${money} and buys {n} kg of {a} at ${p} per kg. With the rest {who} buys {b} at ${q} "
        f"per kg. "
        f"How many kg of {b}?",
        f"From ${money} {who} first pays for {n} crates of {a} at ${p} each. All other money goes into "
        f"crates of {b} "
        f"at ${q} each. How many crates of {b} does {who} get?",
    )


@word("shared_bill")
def shared_bill(t: Draft) -> str:
    """A bill with a tip, divided among friends."""
    people, share, (a, b) = t.small(), t.medium(), t.some(FOOD, 2)
    n, p, m, q = t.small(), t.small(), t.small(), t.small()
    first = t.mul(a, n, p)
    second = t.mul(b, m, q)
    bill = t.add("bill", first, second)
    tip = people * share - bill
    if not 0 < tip <= bill:
        tip = people - bill % people
    paid = t.add("with tip", bill, tip)
    t.div("each", paid, people)
    return t.say(
        f"{people} friends order {n} {a} at ${p} each and {m} {b} at ${q} each. They add a tip of ${tip} "
        f"and share the "
        f"cost equally. How much does each pay?",
        f"A group of {people} eats {m} {b} (${q} each) and {n} {a} (${p} each) and leaves a ${tip} tip. "
        f"All pay the same. What does each one pay?",
    )


@word("price_rise")
def price_rise(t: Draft) -> str:
    """Old and new prices over two months."""
    who, thing, p, rise = t.name(), t.pick(GOODS), t.medium(), t.small()
    n, m = t.small(), t.small()
    first = t.mul("first month", n, p)
    new = t.add("new price", p, rise)
    second = t.mul("second month", m, new)
    t.add("total", first, second)
    return t.say(
        f"{who} buys {n} {thing} at ${p} each. Next month the price rises by ${rise} and {who} buys {m} "
        f"more. "
        f"How much is spent in both months?",
        f"A shop sold {n} {thing} at ${p} in May. In June each cost ${rise} more and {m} were sold. "
        f"How much money came in over the two months?",
    )
