"""The names and things that word problems are about. Plain ASCII, plural where counted."""

from __future__ import annotations

NAMES = (
    "Ana", "Ben", "Cara", "Dan", "Eva", "Finn", "Gina", "Hugo", "Ida", "Jack", "Kira", "Leo",
    "Mia", "Noah", "Olga", "Paul", "Rosa", "Sam", "Tina", "Uma", "Vera", "Will", "Yara", "Zoe",
)  # fmt: skip
GOODS = (
    "pens",
    "books",
    "caps",
    "mugs",
    "lamps",
    "toys",
    "bags",
    "plants",
    "shirts",
    "puzzles",
    "candles",
    "kites",
)
FRUIT = ("apples", "pears", "plums", "lemons", "peaches", "oranges", "melons", "figs")
SMALL_THINGS = ("stickers", "marbles", "beads", "cards", "coins", "shells", "stamps", "buttons")
FOOD = ("cookies", "muffins", "rolls", "pies", "cakes", "tarts", "bagels", "waffles")
SHOPS = ("shop", "store", "market", "kiosk")
HOLDERS = ("boxes", "bags", "crates", "baskets", "trays", "packs")
VEHICLES = ("car", "bus", "train", "truck", "van")
WORK = ("chairs", "toys", "shirts", "boxes", "parts", "lamps")
DRINKS = ("juice", "tea", "lemonade", "punch", "soup")
