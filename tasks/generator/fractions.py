"""Word problems about fractions of a quantity."""

from __future__ import annotations

from tasks.generator.draft import Draft
from tasks.generator.registry import word
from tasks.generator.vocabulary import FRUIT, SMALL_THINGS


@word("fraction_left")
def fraction_left(t: Draft) -> str:
    """A part, then a part of the rest."""
    who, p, q, k = t.name(), t.between(2, 6), t.between(2, 6), t.medium()
    step = q if (p - 1) % q else 1
    money = p * step * k
    if (money - money // p) % q:
        money = p * q * t.small()
    first = t.div("first", money, p)
    rest = t.sub("rest", money, first)
    second = t.div("second", rest, q)
    t.sub("left", rest, second)
    return t.say(
        f"{who} has ${money}, spends 1/{p} of it on food and then 1/{q} of the rest on books. How much is "
        f"left?",
        f"Of ${money} {who} gives 1/{p} to a friend and saves 1/{q} of what remains. How much can {who} "
        f"still spend?",
    )


@word("fraction_sold")
def fraction_sold(t: Draft) -> str:
    """Some parts of a stock are sold."""
    fruit, q, price, unit, bad = t.pick(FRUIT), t.between(3, 9), t.small(), t.medium(), t.small()
    p = t.between(2, q - 1)
    total = q * unit
    one = t.div("one part", total, q)
    sold = t.mul("sold", one, p)
    good = t.sub("paid for", sold, bad)
    t.mul("money", good, price)
    return t.say(
        f"A farmer has {total} {fruit} and sells {p}/{q} of them at ${price} each, but {bad} of the sold "
        f"ones are given "
        f"back. How much money is kept?",
        f"{p}/{q} of {total} {fruit} are taken to the market. {bad} are spoiled on the way, the others "
        f"sell at ${price} "
        f"each. How much money comes in?",
    )


@word("fraction_groups")
def fraction_groups(t: Draft) -> str:
    """Two fractions of one group and the remaining people."""
    p, q, k, more = t.between(2, 6), t.between(3, 8), t.small(), t.small()
    total = p * q * k
    first = t.div("first", total, p)
    second = t.div("second", total, q)
    rest = t.sub("others", total, first, second)
    t.add("with teachers", rest, more)
    return t.say(
        f"Of {total} pupils 1/{p} play chess and 1/{q} sing. The others dance, with {more} teachers. "
        f"How many people dance?",
        f"A camp has {total} children. 1/{p} swim, 1/{q} climb and the rest hike with {more} guides. "
        f"How many people hike?",
    )


@word("backwards", 2)
def backwards(t: Draft) -> str:
    """From what is left to what there was."""
    who, thing, left, gave, lost = t.name(), t.pick(SMALL_THINGS), t.medium(), t.small(), t.small()
    before = t.add("before gift", left, gave)
    whole = t.mul("before half", before, 2)
    t.add("at first", whole, lost)
    return t.say(
        f"{who} loses {lost} {thing}, sells half of the others and then gives {gave} away. {left} are left. "
        f"How many {thing} did {who} have at first?",
        f"{who} has {left} {thing} now. Before that {gave} went to a friend, before that half were sold, "
        f"and at the very "
        f"start {lost} were lost. How many were there at first?",
    )


@word("half_each_day", 2)
def half_each_day(t: Draft) -> str:
    """Half is used each day, some are added."""
    who, thing, k, x, y = t.name(), t.pick(SMALL_THINGS), t.medium(), t.small(), t.small()
    start = 4 * k + 2 * (x % 2)
    first = t.div("after monday", start, 2)
    more = t.add("with new ones", first, x)
    second = t.div("after tuesday", more, 2)
    t.add("end", second, y)
    return t.say(
        f"{who} has {start} {thing} and sells half on Monday. Then {x} more come in. On Tuesday half of "
        f"all are sold and "
        f"{y} come in. How many are there now?",
        f"From {start} {thing} {who} uses half, gets {x}, uses half of those there, and gets {y}. How many "
        f"{thing} "
        f"does {who} have?",
    )


@word("part_of_part")
def part_of_part(t: Draft) -> str:
    """A fraction of a fraction, in a multiple of classes."""
    p, q, k, n = t.between(2, 6), t.between(2, 5), t.small(), t.small()
    size = p * q * k
    part = t.div("part", size, p)
    inner = t.div("part of part", part, q)
    each = t.sub("others", size, inner)
    t.mul("all others", each, n)
    return t.say(
        f"There are {n} equal classes of {size} pupils. 1/{p} of a class are girls and 1/{q} of the girls "
        f"sing; no boy "
        f"does. How many pupils do not sing?",
        f"In each of {n} halls there are {size} seats. 1/{p} of them are red and 1/{q} of the red ones are "
        f"broken. "
        f"How many seats are not broken in all halls?",
    )
