"""Word problems about shapes: perimeter, area, volume, fences, tiles."""

from __future__ import annotations

from tasks.generator.draft import Draft, Redraw
from tasks.generator.registry import word

_PLACES = ("garden", "field", "yard", "park", "pen")


@word("fence_cost", 2)
def fence_cost(t: Draft) -> str:
    """Fence around a rectangle with a gate."""
    place, a, b, gate, price = t.pick(_PLACES), t.medium(), t.medium(), t.between(1, 5), t.small()
    half = t.add("half", a, b)
    around = t.mul("around", half, 2)
    fence = t.sub("fence", around, gate)
    t.mul("cost", fence, price)
    return t.say(
        f"A {place} is {a} m long and {b} m wide. A fence goes around it but for a gate of {gate} m. A "
        f"metre of fence is "
        f"${price}. What does the fence cost?",
        f"Around a {place} of {a} m by {b} m a fence is built, at ${price} a metre. A gap of {gate} m is "
        f"left open. "
        f"What is the price of the fence?",
    )


@word("tiles")
def tiles(t: Draft) -> str:
    """Tiles for a floor and their price."""
    side, k, m, price, have = t.between(2, 5), t.small(), t.small(), t.small(), t.small()
    a, b = side * k, side * m
    floor = t.mul("floor", a, b)
    one = t.mul("tile", side, side)
    count = t.div("tiles", floor, one)
    buy = t.sub("to buy", count, have)
    t.mul("cost", buy, price)
    return t.say(
        f"A floor is {a} m by {b} m and tiles are {side} m by {side} m at ${price} each. {have} tiles are "
        f"there already. "
        f"What do the missing tiles cost?",
        f"Square tiles with sides of {side} m cost ${price}. A hall of {a} m by {b} m is covered and "
        f"{have} tiles need "
        f"not be bought. How much is paid?",
    )


@word("fill_pool")
def fill_pool(t: Draft) -> str:
    """Time to fill a pool."""
    a, b, c, rate = t.small(), t.small(), t.between(2, 4), t.small()
    room = t.mul("base", a, b)
    volume = t.mul("volume", room, c)
    full = t.between(1, volume - 1)
    full += (volume - full) % rate
    rest = t.sub("missing", volume, full)
    t.div("hours", rest, rate)
    return t.say(
        f"A pool is {a} m long, {b} m wide and {c} m deep. {full} cubic metres are in it. Each hour {rate} "
        f"more flow in. "
        f"After how many hours is it full?",
        f"A tank of {a} m by {b} m by {c} m holds {full} cubic metres of water so far. {rate} cubic metres "
        f"an hour are "
        f"added. How many hours until it is full?",
    )


@word("path_area", 2)
def path_area(t: Draft) -> str:
    """Area of a path around a rectangle."""
    place, a, b, w = t.pick(_PLACES), t.small() + 2, t.small() + 2, t.between(1, 4)
    both = t.mul("both sides", w, 2)
    length = t.add("outer length", a, both)
    width = t.add("outer width", b, both)
    outer = t.mul("outer area", length, width)
    inner = t.mul("inner area", a, b)
    t.sub("path", outer, inner)
    return t.say(
        f"A {place} of {a} m by {b} m has a path of {w} m width all around it. What is the area of the "
        f"path in "
        f"square metres?",
        f"A path {w} m wide runs around the outside of a {place} that is {a} m long and {b} m wide. "
        f"How many square metres does the path cover?",
    )


@word("area_from_perimeter", 2)
def area_from_perimeter(t: Draft) -> str:
    """The missing side, then the area."""
    place, a, b, price = t.pick(_PLACES), t.medium(), t.small(), t.between(2, 5)
    around = 2 * (a + b)
    half = t.div("half", around, 2)
    width = t.sub("width", half, a)
    area = t.mul("area", a, width)
    t.mul("cost", area, price)
    return t.say(
        f"The way around a {place} is {around} m and the {place} is {a} m long. A square metre of grass "
        f"costs ${price}. "
        f"What does grass for the whole {place} cost?",
        f"A {place} with a perimeter of {around} m has a length of {a} m. Seed is ${price} per square metre. "
        f"How much is the seed for all of it?",
    )


@word("posts", 4)
def posts(t: Draft) -> str:
    """Posts around a square."""
    place, gap, k, price = t.pick(_PLACES), t.small(), t.small(), t.small()
    side = gap * k
    around = t.mul("around", side, 4)
    count = t.div("posts", around, gap)
    t.mul("cost", count, price)
    return t.say(
        f"A square {place} has sides of {side} m. Around it stand posts {gap} m apart that cost ${price} "
        f"each. "
        f"What do all posts cost?",
        f"Posts at ${price} each are set every {gap} m along the edge of a square {place} with sides of "
        f"{side} m. "
        f"How much do they cost in all?",
    )


@word("l_shape")
def l_shape(t: Draft) -> str:
    """A rectangle with a piece cut out, painted."""
    a, b, c, d, cover = t.medium(), t.small(), t.small(), t.between(2, 5), t.small()
    if d > b or c > a:
        raise Redraw
    whole = t.mul("wall", a, b)
    door = t.mul("door", c, d)
    need = t.sub("to paint", whole, door)
    cans = t.div("cans", need, cover)
    t.mul("cost", cans, d + 5)
    return t.say(
        f"A wall of {a} m by {b} m with an opening of {c} m by {d} m is painted. A can covers {cover} "
        f"square metres and "
        f"costs ${d + 5}. What does the paint cost?",
        f"One can of paint for ${d + 5} is enough for {cover} square metres. A wall is {a} m by {b} m with "
        f"a door of {c} "
        f"m by {d} m. What is the paint for the wall?",
    )


@word("box_stack")
def box_stack(t: Draft) -> str:
    """Small boxes in a big one."""
    s, a, b, c, out = t.between(2, 4), t.between(2, 8), t.between(2, 6), t.between(2, 5), t.small()
    long = t.div("in length", s * a, s)
    wide = t.div("in width", s * b, s)
    high = t.div("in height", s * c, s)
    total = t.mul("boxes", long, wide, high)
    t.sub("left", total, out)
    return t.say(
        f"A crate is {s * a} dm long, {s * b} dm wide and {s * c} dm high. It is full of cubes with sides "
        f"of {s} dm. "
        f"{out} cubes are taken out. How many remain?",
        f"Cubes with sides of {s} dm fill a crate of {s * a} by {s * b} by {s * c} dm. How many are left "
        f"after {out} are "
        f"removed?",
    )
