"""Long word problems about plans: trips, parties, farms and gardens, in six to eight steps."""

from __future__ import annotations

from tasks.generator.draft import Draft
from tasks.generator.registry import word
from tasks.generator.vocabulary import FRUIT, GOODS


@word("class_trip")
def class_trip(t: Draft) -> str:
    """Tickets and buses for classes with teachers, shared cost."""
    n, size, guides, seats, bus, fee = t.small(), t.medium(), t.small(), t.medium(), t.large(), t.small()
    pupils = t.mul("pupils", n, size)
    guides += -(pupils + guides) % seats
    people = t.add("people", pupils, guides)
    buses = t.div("buses", people, seats)
    rent = t.mul("rent", buses, bus)
    entry = t.mul("entry", pupils, fee)
    t.add("cost", rent, entry)
    return t.say(
        f"{n} classes of {size} pupils and {guides} adults make a trip. A bus has {seats} seats and costs "
        f"${bus}. Each pupil pays ${fee} at the zoo, adults nothing. What does the trip cost?",
        f"For a trip buses with {seats} seats are rented at ${bus} each, for {n} classes of {size} pupils "
        f"and {guides} adults. Pupils also pay ${fee} each. What is the whole cost?",
    )


@word("party_budget")
def party_budget(t: Draft) -> str:
    """A budget, food per guest, drinks in boxes and what is left."""
    who, guests, food, boxes, price, gift = t.name(), t.medium(), t.small(), t.small(), t.small(), t.medium()
    meals = t.mul("food", guests, food)
    drinks = t.mul("drinks", boxes, price)
    spent = t.add("spent", meals, drinks)
    budget = spent + t.large()
    left = t.sub("left", budget, spent)
    t.add("with gift", left, gift)
    return t.say(
        f"{who} has ${budget} for a party of {guests} guests. Food is ${food} a guest, {boxes} boxes of "
        f"drinks cost ${price} each, and an aunt gives ${gift}. How much is left?",
        f"{boxes} boxes of drinks at ${price} and food at ${food} for each of {guests} guests are paid "
        f"from ${budget}. {who} then gets ${gift}. How much money is there?",
    )


@word("orchard")
def orchard(t: Draft) -> str:
    """Trees in rows, harvest, crates, sale and cost."""
    fruit, rows, each, kg, k = t.pick(FRUIT), t.small(), t.small(), t.small(), t.small()
    size = t.pick([d for d in (2, 3, 4, 5, 6, 8, 9, 10) if rows * each * kg % d == 0] or [1])
    trees = t.mul("trees", rows, each)
    crop = t.mul("kg", trees, kg)
    crates = t.div("crates", crop, size)
    money = t.mul("money", crates, k)
    cost = t.between(1, max(1, money - 1))
    t.sub("profit", money, cost)
    return t.say(
        f"An orchard has {rows} rows of {each} trees. A tree gives {kg} kg of {fruit}. Crates of {size} kg "
        f"sell at ${k} and the work costs ${cost}. What is the profit?",
        f"Each of the trees in {rows} rows of {each} bears {kg} kg of {fruit}, sold in crates of {size} kg "
        f"for ${k} each. The pickers get ${cost}. What remains?",
    )


@word("farm_legs", 2, 4)
def farm_legs(t: Draft) -> str:
    """Heads and legs of hens and cows."""
    hens, cows, sold, more = t.medium(), t.medium(), t.small(), t.small()
    left = t.sub("hens", hens, sold)
    now = t.add("cows", cows, more)
    first = t.mul("hen legs", left, 2)
    second = t.mul("cow legs", now, 4)
    t.add("legs", first, second)
    return t.say(
        f"A farm has {hens} hens and {cows} cows. It sells {sold} hens and buys {more} cows. How many legs "
        f"do the animals have now?",
        f"There are {cows} cows and {hens} hens. {more} cows are bought and {sold} hens sold. How many "
        f"legs have all animals together?",
    )


@word("heads_and_legs", 2, 4)
def heads_and_legs(t: Draft) -> str:
    """From heads and legs to the number of each animal."""
    hens, cows = t.medium(), t.medium()
    heads, legs = hens + cows, 2 * hens + 4 * cows
    least = t.mul("if all hens", heads, 2)
    extra = t.sub("extra legs", legs, least)
    per_cow = t.sub("extra a cow", 4, 2)
    found = t.div("cows", extra, per_cow)
    t.sub("hens", heads, found)
    return t.say(
        f"Hens and cows on a farm have {heads} heads and {legs} legs together. How many hens are there?",
        f"On a farm there are only cows and hens: {heads} animals with {legs} legs. How many of them are "
        f"hens?",
    )


@word("two_shops")
def two_shops(t: Draft) -> str:
    """The cheaper of two offers."""
    who, thing, n, p, fee, off = t.name(), t.pick(GOODS), t.medium(), t.medium(), t.small(), t.between(1, 5)
    first = t.mul("first shop", n, p)
    low = t.sub("low price", p, off)
    goods = t.mul("second goods", n, low)
    second = t.add("second shop", goods, fee)
    t.sub("saved", first, second)
    return t.say(
        f"{who} needs {n} {thing}. One shop sells them at ${p} each, another for ${off} less each but "
        f"takes ${fee} for delivery. How much does {who} save in the second shop?",
        f"A shop asks ${p} for each of {n} {thing}. A second shop is ${off} cheaper for each but delivery "
        f"is ${fee}. By how many dollars is the second shop cheaper in all?",
    )


@word("phone_plans")
def phone_plans(t: Draft) -> str:
    """A monthly fee and a price per call over months."""
    (a, b), months, fee, calls, price, flat = (
        t.names(2),
        t.small(),
        t.medium(),
        t.small(),
        t.between(2, 6),
        t.large(),
    )
    talk = t.mul("calls", calls, price)
    month = t.add("a month", fee, talk)
    first = t.mul(a, month, months)
    second = t.mul(b, flat, months)
    t.sub("difference", second, first)
    return t.say(
        f"{a} pays ${fee} a month and ${price} for each of {calls} calls a month. {b} pays a flat ${flat} "
        f"a month. How much more does {b} pay in {months} months?",
        f"In {months} months, how much less does {a} pay with a fee of ${fee} a month and {calls} calls a "
        f"month at ${price} each than {b} with ${flat} a month?",
    )


@word("two_savers")
def two_savers(t: Draft) -> str:
    """Two people save at different rates; what they can pay together."""
    (a, b), s, x, y, weeks = t.names(2), t.medium(), t.small(), t.small(), t.small()
    r = t.medium()
    first_gain = t.mul(f"{a} saves", x, weeks)
    first = t.add(a, s, first_gain)
    second_gain = t.mul(f"{b} saves", y, weeks)
    second = t.add(b, r, second_gain)
    both = t.add("both", first, second)
    price = t.between(both // 2, both - 1)
    t.sub("left", both, price)
    return t.say(
        f"{a} has ${s} and saves ${x} a week, {b} has ${r} and saves ${y} a week. After {weeks} weeks they "
        f"buy a game for ${price} together. How much is left?",
        f"For {weeks} weeks {a} saves ${x} and {b} ${y} a week. They began with ${s} ({a}) and ${r} ({b}). "
        f"How much remains after a gift of ${price} from both?",
    )


@word("garden_rows", 2)
def garden_rows(t: Draft) -> str:
    """Plants in a garden: rows, price, fence, and the sum."""
    who, rows, each, price, a, b = t.name(), t.small(), t.small(), t.small(), t.small(), t.small()
    metre = t.small()
    plants = t.mul("plants", rows, each)
    first = t.mul("plant cost", plants, price)
    half = t.add("half way", a, b)
    around = t.mul("around", half, 2)
    second = t.mul("fence cost", around, metre)
    t.add("cost", first, second)
    return t.say(
        f"{who} sets {rows} rows of {each} plants at ${price} each in a bed of {a} m by {b} m and puts a "
        f"fence around it at ${metre} a metre. What does all this cost?",
        f"A bed of {a} m by {b} m gets {rows} rows of {each} plants, ${price} for each, and a fence around "
        f"it for ${metre} a metre. How much does {who} pay in all?",
    )
