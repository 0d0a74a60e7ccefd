"""Word problems about recipes, mixtures and ratios."""

from __future__ import annotations

from tasks.generator.draft import Draft
from tasks.generator.registry import word
from tasks.generator.vocabulary import DRINKS, FOOD, FRUIT


@word("recipe_scale")
def recipe_scale(t: Draft) -> str:
    """A recipe for more pieces, two ingredients."""
    who, thing, base, k, flour, sugar = t.name(), t.pick(FOOD), t.small(), t.small(), t.large(), t.medium()
    batches = t.div("batches", base * k, base)
    need = t.mul("flour", flour, batches)
    sweet = t.mul("sugar", sugar, batches)
    t.add("grams", need, sweet)
    return t.say(
        f"For {base} {thing} {who} needs {flour} g of flour and {sugar} g of sugar. How many grams are "
        f"that in all for {base * k} {thing}?",
        f"A recipe for {base} {thing} takes {sugar} g of sugar and {flour} g of flour. {who} bakes "
        f"{base * k}. What do flour and sugar weigh together?",
    )


@word("recipe_buy")
def recipe_buy(t: Draft) -> str:
    """Flour for a recipe, in bags, less what is there."""
    thing, per, n, size, price, bags = t.pick(FOOD), t.small(), t.medium(), t.small(), t.small(), t.small()
    need = t.mul("needed", per, n)
    have = need - size * bags
    if have < 1:
        have = need % size + size
    buy = t.sub("to buy", need, have)
    count = t.div("bags", buy, size)
    t.mul("cost", count, price)
    return t.say(
        f"One tray of {thing} needs {per} kg of flour. {n} trays are ordered and {have} kg of flour are "
        f"there. A bag of {size} kg costs ${price}. What do the bags cost?",
        f"A baker has {have} kg of flour and must bake {n} trays of {thing} with {per} kg each. Flour "
        f"comes in bags of {size} kg for ${price}. How much is spent?",
    )


@word("two_part_ratio")
def two_part_ratio(t: Draft) -> str:
    """A total in a ratio of two numbers, and the gap."""
    (a, b), x, k = t.some(FRUIT, 2), t.small(), t.medium()
    y = x + t.small()
    parts = t.add("parts", x, y)
    one = t.div("one part", parts * k, parts)
    first = t.mul(a, one, x)
    second = t.mul(b, one, y)
    t.sub("difference", second, first)
    return t.say(
        f"{parts * k} fruits are {a} and {b} in the ratio {x}:{y}. How many more {b} than {a} are there?",
        f"A crate holds {parts * k} fruits: for every {x} {a} there are {y} {b}. By how many do the {b} "
        f"outnumber the {a}?",
    )


@word("three_part_ratio")
def three_part_ratio(t: Draft) -> str:
    """Money shared in a ratio of three numbers, one spends some."""
    (a, b, c), x, y, z, k = t.names(3), t.small(), t.small(), t.small(), t.medium()
    parts = t.add("parts", x, y, z)
    one = t.div("one part", parts * k, parts)
    share = t.mul(f"share of {c}", one, z)
    spent = t.between(1, share - 1)
    t.sub("left", share, spent)
    return t.say(
        f"{a}, {b} and {c} share ${parts * k} in the ratio {x}:{y}:{z}. {c} spends ${spent}. How much does "
        f"{c} have left?",
        f"${parts * k} are split {x}:{y}:{z} among {a}, {b} and {c}, in this order. How much has {c} after "
        f"spending ${spent}?",
    )


@word("ratio_from_part")
def ratio_from_part(t: Draft) -> str:
    """One part is known, the whole is wanted."""
    drink, x, y, k, price = t.pick(DRINKS), t.small(), t.small(), t.small(), t.small()
    one = t.div("one part", x * k, x)
    other = t.mul("water", one, y)
    both = t.add("litres", x * k, other)
    t.mul("money", both, price)
    return t.say(
        f"{drink.capitalize()} is mixed from syrup and water in the ratio {x}:{y}. With {x * k} litres of "
        f"syrup, how much money does all of it bring at ${price} a litre?",
        f"For {drink} take {x} parts of syrup and {y} parts of water. {x * k} litres of syrup are used and "
        f"a litre is sold for ${price}. How much money is that?",
    )


@word("mixture_cost")
def mixture_cost(t: Draft) -> str:
    """Price of a kilogram of a mixture."""
    (a, b), n, m, p, extra = t.some(FRUIT, 2), t.small(), t.small(), t.small(), t.small()
    q = p + (n + m) * t.between(1, 4)
    first = t.mul(a, n, p)
    second = t.mul(b, m, q)
    total = t.add("cost", first, second)
    weight = t.add("weight", n, m)
    one = t.div("one kg", total, weight)
    t.add("price", one, extra)
    return t.say(
        f"{n} kg of dried {a} at ${p} per kg and {m} kg of dried {b} at ${q} per kg are mixed. A kg of the "
        f"mix is sold for ${extra} more than it costs. What is the price of a kg?",
        f"A shop mixes {m} kg of {b} (${q} per kg) with {n} kg of {a} (${p} per kg) and adds ${extra} per "
        f"kg as profit. What does one kg of the mix sell for?",
    )


@word("glasses", 1000)
def glasses(t: Draft) -> str:
    """Litres into glasses."""
    drink, size, jugs, price = t.pick(DRINKS), t.pick((100, 125, 200, 250, 500)), t.small(), t.small()
    spilt = t.between(1, 1000 // size)
    all_ml = t.mul("ml", jugs, 1000)
    full = t.div("glasses", all_ml, size)
    sold = t.sub("sold", full, spilt)
    t.mul("money", sold, price)
    return t.say(
        f"{jugs} litres of {drink} are poured in glasses of {size} ml. {spilt} glasses are spilt, the "
        f"others sold at ${price} each. How much money is that?",
        f"A glass holds {size} ml and sells at ${price}. From {jugs} litres of {drink} all glasses but "
        f"{spilt} are sold. How much do they bring?",
    )
