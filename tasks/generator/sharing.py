"""Word problems about dividing things up: boxes, shares, leftovers, teams, tables."""

from __future__ import annotations

from tasks.generator.draft import Draft
from tasks.generator.registry import word
from tasks.generator.vocabulary import FOOD, FRUIT, HOLDERS, SMALL_THINGS


@word("share_left")
def share_left(t: Draft) -> str:
    """Boxes given out, the rest kept."""
    who, thing, box = t.name(), t.pick(SMALL_THINGS), t.pick(HOLDERS)
    n, size, kids, each = t.small(), t.medium(), t.small(), t.small()
    total = t.mul("all", n, size)
    given = t.mul("given", kids, each)
    t.sub("left", total, given)
    return t.say(
        f"{who} has {n} {box} with {size} {thing} each and gives {each} {thing} to each of {kids} friends. "
        f"How many {thing} are left?",
        f"Each of {kids} children gets {each} {thing} from {who}, who had {n} {box} of {size} {thing}. "
        f"How many {thing} does {who} keep?",
    )


@word("bagging")
def bagging(t: Draft) -> str:
    """Fruit sorted out, the rest in bags that are sold."""
    who, fruit, size, bags, price, bad = t.name(), t.pick(FRUIT), t.small(), t.medium(), t.small(), t.small()
    total = size * bags + bad
    good = t.sub("good", total, bad)
    packed = t.div("bags", good, size)
    t.mul("money", packed, price)
    return t.say(
        f"{who} picks {total} {fruit}. {bad} are bad. The others go in bags of {size}, sold at ${price} a "
        f"bag. "
        f"How much money does {who} get?",
        f"Of {total} {fruit}, {bad} are thrown out and the rest packed in bags of {size}. A bag brings "
        f"${price}. "
        f"How much do all bags bring?",
    )


@word("share_more")
def share_more(t: Draft) -> str:
    """Two heaps put together and shared."""
    (a, b), thing, kids, each = t.names(2), t.pick(SMALL_THINGS), t.small(), t.medium()
    total = kids * each
    x = t.between(total // 4 + 1, total // 2 + 1)
    y = total - x
    if y < 1:
        y = kids
    both = t.add("together", x, y)
    share = t.div("share", both, kids)
    eaten = t.between(1, max(1, share // 2))
    t.sub("left", share, eaten)
    return t.say(
        f"{a} has {x} {thing} and {b} has {y}. They share all of them equally among {kids} children. "
        f"One child loses {eaten}. How many {thing} does that child have left?",
        f"{kids} children share the {x} {thing} of {a} and the {y} of {b} equally. Then one of them gives "
        f"{eaten} away. "
        f"How many does that child keep?",
    )


@word("leftovers")
def leftovers(t: Draft) -> str:
    """Full boxes and what does not fit."""
    who, thing, box, size, full = t.name(), t.pick(FOOD), t.pick(HOLDERS), t.medium(), t.small()
    rest = t.between(1, size - 1)
    a = t.between(1, size * full + rest - 1)
    b = size * full + rest - a
    total = t.add("all", a, b)
    packed = t.mul("packed", full, size)
    t.sub("left", total, packed)
    return t.say(
        f"{who} bakes {a} {thing} in the morning and {b} in the evening and fills {full} {box} of {size} "
        f"each. "
        f"How many {thing} are left over?",
        f"{a} {thing} are baked first and {b} later. {full} {box} take {size} each and no more can be "
        f"filled. "
        f"How many {thing} remain?",
    )


@word("teams")
def teams(t: Draft) -> str:
    """Pupils in teams, balls for each team."""
    size, count, balls, away, spare = t.small(), t.small(), t.small(), t.small(), t.small()
    girls = t.between(1, size * count + away - 1)
    boys = size * count + away - girls
    total = t.add("pupils", girls, boys)
    here = t.sub("here", total, away)
    made = t.div("teams", here, size)
    used = t.mul("balls", made, balls)
    t.add("with spare", used, spare)
    return t.say(
        f"A school has {girls} girls and {boys} boys; {away} are ill. The others form teams of {size}. "
        f"Each team needs "
        f"{balls} balls and {spare} are spare. How many balls are needed?",
        f"{boys} boys and {girls} girls sign up, {away} do not come. They play in teams of {size} with "
        f"{balls} balls a "
        f"team, and {spare} balls lie ready. How many balls is that?",
    )


@word("tables")
def tables(t: Draft) -> str:
    """Tables for guests and the cost of them."""
    who, seats, count, price, family = t.name(), t.small(), t.small(), t.medium(), t.small()
    guests = seats * count - family
    people = t.add("people", guests, family)
    need = t.div("tables", people, seats)
    t.mul("cost", need, price)
    return t.say(
        f"{who} invites {guests} guests to a party with {family} of the family. A table has {seats} seats "
        f"and costs "
        f"${price} to rent. How much do the tables cost?",
        f"For {guests} guests and {family} hosts tables with {seats} seats are rented at ${price} each. "
        f"What is the rent for all tables?",
    )


@word("trays")
def trays(t: Draft) -> str:
    """Rows and trays, some sold."""
    who, thing, n, rows, each = t.name(), t.pick(FOOD), t.small(), t.small(), t.small()
    tray = t.mul("one tray", rows, each)
    total = t.mul("all", tray, n)
    sold = t.between(1, total - 1)
    t.sub("left", total, sold)
    return t.say(
        f"{who} has {n} trays with {rows} rows of {each} {thing} and sells {sold}. How many {thing} are "
        f"left?",
        f"A tray holds {rows} rows of {each} {thing}. From {n} full trays {who} sells {sold}. "
        f"How many {thing} remain?",
    )


@word("regroup")
def regroup(t: Draft) -> str:
    """From boxes of one size to boxes of another, sold."""
    who, thing, size, count, k, price = (
        t.name(),
        t.pick(SMALL_THINGS),
        t.small(),
        t.small(),
        t.small(),
        t.small(),
    )
    n, old = count * k, size
    new = size * k
    total = t.mul("all", n, old)
    boxes = t.div("new boxes", total, new)
    t.mul("money", boxes, price)
    return t.say(
        f"{who} has {n} bags of {old} {thing} and puts all in boxes of {new}, which sell at ${price} each. "
        f"How much money do the boxes bring?",
        f"{n} bags with {old} {thing} each are repacked in boxes of {new}. {who} sells each box for "
        f"${price}. "
        f"How much does {who} get?",
    )
