"""Word problems about percent: discount, tax, interest, parts of a group, commission."""

from __future__ import annotations

from tasks.generator.draft import Draft
from tasks.generator.registry import word
from tasks.generator.vocabulary import GOODS

_RATES = (5, 10, 15, 20, 25, 30, 40, 60, 75)


def _percent(t: Draft, label: str, whole: int, rate: int) -> int:
    """Record `rate` percent of `whole` in two steps."""
    product = t.mul("percent product", whole, rate)
    return t.div(label, product, 100)


def _whole_for(t: Draft, rate: int, low: int, high: int) -> int:
    """A number between the bounds of which `rate` percent is whole."""
    step = next(size for size in (4, 5, 10, 20, 100) if size * rate % 100 == 0)
    return max(step, t.between(low, high) // step * step)


@word("discount", 100)
def discount(t: Draft) -> str:
    """A price cut, several pieces."""
    who, thing, rate, n = t.name(), t.pick(GOODS), t.pick(_RATES), t.small()
    price = _whole_for(t, rate, 20, t.ranges.large[1] // 3)
    off = _percent(t, "discount", price, rate)
    now = t.sub("new price", price, off)
    t.mul("cost", now, n)
    return t.say(
        f"The price of {thing} is ${price} each, but today it is {rate}% lower. {who} buys {n}. How much "
        f"is paid?",
        f"{who} buys {n} {thing} that cost ${price} each before a discount of {rate}%. What is the cost?",
    )


@word("sales_tax", 100)
def sales_tax(t: Draft) -> str:
    """Tax on two purchases."""
    who, (a, b), rate, n = t.name(), t.some(GOODS, 2), t.pick((5, 10, 20, 25)), t.small()
    p = t.medium()
    q = t.medium()
    q += -(n * p + q) % 20
    first = t.mul(a, n, p)
    total = t.add("before tax", first, q)
    tax = _percent(t, "tax", total, rate)
    t.add("with tax", total, tax)
    return t.say(
        f"{who} buys {n} {a} at ${p} each and a box of {b} for ${q}. Then a tax of {rate}% is added. "
        f"How much does {who} pay?",
        f"A box of {b} is ${q} and {a} are ${p} each, without the tax of {rate}%. What do the box and {n} "
        f"{a} cost with "
        f"tax?",
    )


@word("interest", 100)
def interest(t: Draft) -> str:
    """Simple interest over some years, less a withdrawal."""
    who, rate, years = t.name(), t.between(2, 9), t.small()
    start = t.between(1, max(2, t.ranges.large[1] // 100)) * 100
    gain = _percent(t, "interest a year", start, rate)
    all_gain = t.mul("all interest", gain, years)
    total = t.add("total", start, all_gain)
    taken = t.between(1, total // 2)
    t.sub("left", total, taken)
    return t.say(
        f"{who} puts ${start} in a bank at {rate}% simple interest a year and takes out ${taken} after "
        f"{years} years. "
        f"How much is left?",
        f"A bank pays {rate}% simple interest a year. {who} pays in ${start}, waits {years} years and then "
        f"spends "
        f"${taken} of it. What remains?",
    )


@word("percent_group", 100)
def percent_group(t: Draft) -> str:
    """Part of a group and the difference to the rest."""
    rate, more = t.pick((5, 10, 15, 20, 25, 30, 40)), t.small()
    total = _whole_for(t, rate, *t.ranges.large)
    part = _percent(t, "by bus", total, rate)
    rest = t.sub("others", total, part)
    walkers = t.sub("walk", rest, more)
    t.sub("difference", walkers, part)
    return t.say(
        f"A school has {total} pupils. {rate}% come by bus, {more} by car and the others walk. "
        f"How many more walk than come by bus?",
        f"Of {total} pupils {rate}% take the bus and {more} are driven by car; all others walk. "
        f"By how many are the walkers more than those on the bus?",
    )


@word("commission", 100)
def commission(t: Draft) -> str:
    """Base pay and a part of the sales."""
    who, thing, rate, n, base = t.name(), t.pick(GOODS), t.pick((5, 10, 20, 25)), t.small(), t.large()
    price = t.medium() // 5 * 20 + 20
    n = n * 5 if price % 100 and t.ranges.small[1] <= 9 and rate == 5 else n
    sales = t.mul("sales", n, price)
    extra = _percent(t, "commission", sales, rate)
    t.add("pay", base, extra)
    return t.say(
        f"{who} earns ${base} and {rate}% of the sales. {who} sells {n} {thing} at ${price} each. "
        f"How much does {who} earn?",
        f"For selling {n} {thing} at ${price} each {who} gets {rate}% of the money on top of a wage of "
        f"${base}. "
        f"What is the whole pay?",
    )


@word("two_cuts", 100)
def two_cuts(t: Draft) -> str:
    """One discount after another."""
    thing, first, second = t.pick(GOODS), t.pick((10, 20, 25, 50)), t.pick((10, 20, 25, 50))
    price = t.between(1, 7) * t.pick((40, 80, 100))
    off = _percent(t, "first cut", price, first)
    now = t.sub("price then", price, off)
    more = _percent(t, "second cut", now, second)
    t.sub("price now", now, more)
    return t.say(
        f"A set of {thing} costs ${price}. The price falls by {first}% and then the new price falls by "
        f"{second}%. "
        f"What is the price in the end?",
        f"First {first}% is taken off the ${price} for a set of {thing}, later {second}% off the lower "
        f"price. "
        f"How much does it cost now?",
    )


@word("percent_grow", 100)
def percent_grow(t: Draft) -> str:
    """A town that grows by percent and loses people."""
    rate, away, come = t.pick((5, 10, 20, 25)), t.medium(), t.medium()
    people = t.large() // 20 * 20 + 100
    born = _percent(t, "growth", people, rate)
    grown = t.add("grown", people, born)
    t.add("end", t.sub("after leaving", grown, away), come)
    return t.say(
        f"A village of {people} people grows by {rate}%. Then {away} people leave and {come} come. "
        f"How many people live there now?",
        f"A club has {people} members and gets {rate}% more. After that {away} go and {come} join. "
        f"How many members are there?",
    )
