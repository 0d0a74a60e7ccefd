"""Word problems about moving: distance, speed, time, fuel, laps."""

from __future__ import annotations

from tasks.generator.draft import Draft
from tasks.generator.registry import word
from tasks.generator.vocabulary import VEHICLES


@word("two_legs")
def two_legs(t: Draft) -> str:
    """Distance over two speeds."""
    car, a, v, b, w = t.pick(VEHICLES), t.small(), t.medium(), t.small(), t.medium()
    first = t.mul("first part", a, v)
    second = t.mul("second part", b, w)
    t.add("distance", first, second)
    return t.say(
        f"A {car} drives {a} hours at {v} km/h and then {b} hours at {w} km/h. How many km does it drive?",
        f"For {a} hours a {car} goes {v} km per hour, then {w} km per hour for {b} hours. How far does it "
        f"go?",
    )


@word("remaining_distance")
def remaining_distance(t: Draft) -> str:
    """What is left of a trip after two stretches."""
    who, a, v, b = t.name(), t.small(), t.medium(), t.small()
    first = t.mul("first", a, v)
    second = t.mul("second", b, v)
    done = t.add("done", first, second)
    trip = done + t.large()
    t.sub("left", trip, done)
    return t.say(
        f"A trip is {trip} km. {who} rides {a} hours before lunch and {b} hours after it, always at {v} "
        f"km/h. "
        f"How many km are left?",
        f"{who} has to go {trip} km and travels at {v} km per hour: {a} hours on Monday, {b} hours on "
        f"Tuesday. "
        f"How far is it still?",
    )


@word("remaining_time")
def remaining_time(t: Draft) -> str:
    """Time for the rest at a new speed."""
    car, a, v, w, hours = t.pick(VEHICLES), t.small(), t.medium(), t.medium(), t.small()
    trip = a * v + w * hours
    done = t.mul("done", a, v)
    left = t.sub("left", trip, done)
    more = t.div("hours left", left, w)
    t.add("hours", a, more)
    return t.say(
        f"A {car} must go {trip} km. It goes {v} km/h for {a} hours and {w} km/h from then on. "
        f"How many hours does the whole trip take?",
        f"The way is {trip} km long. After {a} hours at {v} km/h a {car} changes to {w} km/h. "
        f"How many hours is it on the way in all?",
    )


@word("opposite")
def opposite(t: Draft) -> str:
    """Two travellers who move apart."""
    (a, b), v, w, hours, start = t.names(2), t.medium(), t.medium(), t.small(), t.medium()
    speed = t.add("speed apart", v, w)
    way = t.mul("way", speed, hours)
    t.add("distance", way, start)
    return t.say(
        f"{a} and {b} are {start} km apart and drive away from each other, {a} at {v} km/h, {b} at {w} km/h. "
        f"How far apart are they after {hours} hours?",
        f"{b} drives west at {w} km/h, {a} east at {v} km/h. They started {start} km apart. "
        f"What is the distance between them {hours} hours later?",
    )


@word("catch_up")
def catch_up(t: Draft) -> str:
    """A head start and a faster pursuer."""
    (a, b), w, more, k = t.names(2), t.medium(), t.small(), t.small()
    v, head = w + more, more * k
    gap = t.sub("speed difference", v, w)
    hours = t.div("hours", head, gap)
    t.mul("way", hours, v)
    return t.say(
        f"{a} is {head} km ahead of {b}. {a} rides at {w} km/h, {b} at {v} km/h in the same direction. "
        f"How many km does {b} ride to catch {a}?",
        f"{b} follows {a}, who has a lead of {head} km. Speeds: {a} {w} km/h, {b} {v} km/h. "
        f"How far must {b} go until they meet?",
    )


@word("average_speed", 2)
def average_speed(t: Draft) -> str:
    """Average speed there and back."""
    who, a, b, speed = t.name(), t.small(), t.small(), t.medium()
    speed += (a + b) * speed % 2
    way = (a + b) * speed // 2
    hours = t.add("hours", a, b)
    both = t.mul("both ways", way, 2)
    t.div("speed", both, hours)
    return t.say(
        f"{who} drives {way} km to a lake in {a} hours and the same way back in {b} hours. "
        f"What is the average speed in km/h?",
        f"A way of {way} km takes {who} {a} hours; going back takes {b} hours. "
        f"What is the average speed of the whole trip in km per hour?",
    )


@word("laps")
def laps(t: Draft) -> str:
    """Laps on several days, in metres."""
    who, length, n, m, days = t.name(), t.pick((50, 80, 200, 250, 400)), t.small(), t.small(), t.between(2, 4)
    first = t.mul("slow laps", n, days)
    total = t.add("laps", first, m)
    t.mul("metres", total, length)
    return t.say(
        f"A lap is {length} m. {who} runs {n} laps on each of {days} days and {m} laps on Sunday. "
        f"How many metres is that in all?",
        f"{who} swims {m} laps on Sunday and {n} laps on each of {days} other days. One lap is {length} m. "
        f"How many metres does {who} swim?",
    )


@word("fuel_cost")
def fuel_cost(t: Draft) -> str:
    """Fuel for a way and its price."""
    car, per, litres, price, toll = t.pick(VEHICLES), t.small(), t.medium(), t.small(), t.medium()
    way = per * litres
    used = t.div("litres", way, per)
    cost = t.mul("fuel", used, price)
    t.add("cost", cost, toll)
    return t.say(
        f"A {car} goes {per} km on one litre of fuel. A litre costs ${price}. The toll is ${toll}. "
        f"What does a trip of {way} km cost?",
        f"A trip is {way} km with a toll of ${toll}. The {car} needs one litre for {per} km and a litre is "
        f"${price}. "
        f"What is the cost of the trip?",
    )


@word("meeting")
def meeting(t: Draft) -> str:
    """Two travellers who move towards each other."""
    (a, b), v, w, hours = t.names(2), t.medium(), t.medium(), t.small()
    apart = (v + w) * hours
    speed = t.add("closing speed", v, w)
    time = t.div("hours", apart, speed)
    t.mul(f"way of {a}", time, v)
    return t.say(
        f"{a} and {b} start {apart} km apart and drive towards each other at {v} km/h and {w} km/h. "
        f"How many km has {a} driven when they meet?",
        f"Two towns are {apart} km apart. {a} leaves one at {v} km/h, {b} the other at {w} km/h, to meet "
        f"on the way. "
        f"How far does {a} go?",
    )
