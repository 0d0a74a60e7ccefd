"""Word problems about money: coins, notes, saving, wages, profit."""

from __future__ import annotations

from tasks.generator.draft import Draft
from tasks.generator.registry import word
from tasks.generator.vocabulary import FOOD, GOODS, WORK


@word("coins")
def coins(t: Draft) -> str:
    """Coins of three kinds."""
    who, (x, y, z) = t.name(), t.some((2, 5, 10, 20, 25, 50), 3)
    a, b, c = t.small(), t.medium(), t.small()
    first = t.mul(f"{x} cent", a, x)
    second = t.mul(f"{y} cent", b, y)
    third = t.mul(f"{z} cent", c, z)
    t.add("total", first, second, third)
    return t.say(
        f"{who} has {a} coins of {x} cents, {b} coins of {y} cents and {c} coins of {z} cents. "
        f"How many cents is that?",
        f"In a jar there are {c} {z}-cent coins, {a} {x}-cent coins and {b} {y}-cent coins. "
        f"How many cents are in the jar?",
    )


@word("notes")
def notes(t: Draft) -> str:
    """What is left of notes after a payment."""
    who, thing, a, b, c = t.name(), t.pick(GOODS), t.small(), t.small(), t.small()
    tens = t.mul("tens", a, 10)
    twenties = t.mul("twenties", b, 20)
    total = t.add("money", tens, twenties, c)
    price = t.between(total // 4, total - 1)
    t.sub("left", total, price)
    return t.say(
        f"{who} has {a} notes of $10, {b} notes of $20 and ${c} in coins, and buys {thing} for ${price}. "
        f"How much money is left?",
        f"In the purse of {who} are {b} $20 notes, {a} $10 notes and {c} single dollars. "
        f"After paying ${price} for {thing}, how much remains?",
    )


@word("savings_goal")
def savings_goal(t: Draft) -> str:
    """Weeks until a price is reached."""
    who, start, gain, weeks = t.name(), t.medium(), t.medium(), t.small()
    spend = t.small()
    price = start + gain * weeks
    keeps = t.sub("kept a week", gain + spend, spend)
    missing = t.sub("missing", price, start)
    t.div("weeks", missing, keeps)
    return t.say(
        f"{who} wants a bike for ${price} and has ${start}. Every week {who} earns ${gain + spend} and "
        f"spends ${spend}. "
        f"After how many weeks can {who} buy it?",
        f"A bike costs ${price}. {who} has saved ${start}, gets ${gain + spend} a week and uses ${spend} "
        f"of that "
        f"for lunch. How many weeks must {who} save?",
    )


@word("savings_two_jobs")
def savings_two_jobs(t: Draft) -> str:
    """Two incomes and one cost, for some weeks."""
    who, a, b, cost, weeks, start = t.name(), t.medium(), t.medium(), t.small(), t.small(), t.large()
    income = t.add("income", a, b)
    keeps = t.sub("kept", income, cost)
    saved = t.mul("saved", keeps, weeks)
    t.add("total", start, saved)
    return t.say(
        f"{who} has ${start}. Each week {who} earns ${a} by cleaning and ${b} by teaching, and spends "
        f"${cost}. "
        f"How much does {who} have after {weeks} weeks?",
        f"For {weeks} weeks {who} gets ${a} from one job and ${b} from another and pays ${cost} for the "
        f"bus each week. "
        f"{who} began with ${start}. How much is there at the end?",
    )


@word("profit")
def profit(t: Draft) -> str:
    """Gain per piece times pieces, less a fee."""
    who, thing, n, cost, gain = t.name(), t.pick(GOODS), t.medium(), t.medium(), t.small()
    fee = t.between(1, n * gain // 2)
    per_piece = t.sub("gain per piece", cost + gain, cost)
    gross = t.mul("gain", per_piece, n)
    t.sub("profit", gross, fee)
    return t.say(
        f"{who} buys {n} {thing} at ${cost} each and sells all at ${cost + gain} each. The stall costs "
        f"${fee}. "
        f"What is the profit?",
        f"A stall costs ${fee} a day. {who} sells {n} {thing} for ${cost + gain} each that were bought for "
        f"${cost} "
        f"each. How much profit is made?",
    )


@word("profit_broken")
def profit_broken(t: Draft) -> str:
    """Some pieces break before they are sold."""
    who, thing, n, cost = t.name(), t.pick(GOODS), t.medium(), t.small()
    broken, price = t.small(), cost + t.small()
    paid = t.mul("paid", n, cost)
    good = t.sub("good", n, broken)
    money = t.mul("money", good, price)
    t.sub("profit", money, paid)
    return t.say(
        f"{who} buys {n} {thing} for ${cost} each. {broken} of them break. The others are sold for "
        f"${price} each. "
        f"What is the profit?",
        f"Of {n} {thing} bought at ${cost} each, {broken} arrive broken and {who} sells the rest at "
        f"${price} each. "
        f"How much does {who} gain?",
    )


@word("overtime")
def overtime(t: Draft) -> str:
    """Normal and extra hours, less tax."""
    who, hours, pay, extra, more = t.name(), t.medium(), t.medium(), t.small(), t.small()
    normal = t.mul("normal", hours, pay)
    rate = t.add("extra rate", pay, more)
    over = t.mul("extra pay", extra, rate)
    total = t.add("total", normal, over)
    tax = t.between(total // 20 + 1, total // 5 + 1)
    t.sub("after tax", total, tax)
    return t.say(
        f"{who} earns ${pay} an hour and ${more} an hour more for overtime. This week {who} worked {hours} "
        f"normal hours "
        f"and {extra} overtime hours and paid ${tax} tax. How much is left?",
        f"{who} works {hours} hours at ${pay} an hour and then {extra} extra hours at ${more} more per hour. "
        f"Tax takes ${tax}. What does {who} keep?",
    )


@word("stall_days")
def stall_days(t: Draft) -> str:
    """Income of two days with different sales, less materials."""
    who, thing, price, a, more = t.name(), t.pick(FOOD), t.small(), t.medium(), t.medium()
    second = t.add("second day", a, more)
    both = t.add("both days", a, second)
    money = t.mul("money", both, price)
    cost = t.between(money // 5 + 1, money // 2 + 1)
    t.sub("left", money, cost)
    return t.say(
        f"{who} sells {a} {thing} on Monday and {more} more than that on Tuesday, at ${price} each. "
        f"The flour cost ${cost}. How much is earned after that cost?",
        f"{thing.capitalize()} sell at ${price} each. {who} sold {a} on one day and the next day {more} "
        f"more. "
        f"{who} paid ${cost} for flour. How much money is left?",
    )


@word("piece_wage")
def piece_wage(t: Draft) -> str:
    """Pay per piece and a bonus above a limit."""
    who, thing, pay, limit, over, bonus = t.name(), t.pick(WORK), t.small(), t.medium(), t.small(), t.small()
    made = limit + over
    base = t.mul("base", made, pay)
    above = t.sub("above", made, limit)
    extra = t.mul("bonus", above, bonus)
    t.add("total", base, extra)
    return t.say(
        f"{who} gets ${pay} for each of the {thing} made, and ${bonus} extra for each one above {limit}. "
        f"{who} makes {made}. How much is the pay?",
        f"For {made} {thing} {who} is paid ${pay} each. Those above {limit} bring ${bonus} extra each. "
        f"What is the whole pay?",
    )
