"""Numbers in French words, and Roman numerals."""

import random

from recipe.phrasing import ask, follow_up
from recipe.split import number_key

LARGEST_FRENCH = 999_999
LARGEST_ROMAN = 3999

FRENCH_SMALL = (
    "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize"
    " dix-sept dix-huit dix-neuf"
).split()
FRENCH_TENS = {2: "vingt", 3: "trente", 4: "quarante", 5: "cinquante", 6: "soixante"}

FRENCH_TEMPLATES = (
    "{x} in french", "{x} in french words", "what is {x} in french", "what's {x} in french",
    "how do you say {x} in french", "how do i say {x} in french", "say {x} in french",
    "how is {x} written in french", "write {x} in french", "write {x} in french words",
    "spell {x} in french", "translate {x} to french", "translate {x} into french",
    "convert {x} to french", "french for {x}", "french: {x}", "the french word for {x}",
    "what is the french for {x}", "give me {x} in french", "number {x}", "the number {x}",
    "what is the number {x} in french", "how would you say {x} in french", "{x} french",
    "count to {x} in french", "spell out {x}", "say {x}", "say the number {x} in french",
    "{x} en français", "comment dit-on {x}", "écris {x} en lettres",
)  # fmt: skip

ROMAN_TEMPLATES = (
    "{x} in roman", "{x} in roman numerals", "{x} as a roman numeral", "roman numeral of {x}",
    "roman numeral for {x}", "roman numerals for {x}", "roman {x}", "roman: {x}", "{x} roman",
    "what is {x} in roman numerals", "what's {x} in roman numerals", "what is {x} in roman",
    "convert {x} to roman", "convert {x} to roman numerals", "convert {x} to a roman numeral",
    "write {x} in roman numerals", "write {x} as a roman numeral", "turn {x} into roman numerals",
    "how do you write {x} in roman numerals", "how would the romans write {x}",
    "what is the roman numeral for {x}", "the year {x} in roman numerals", "year {x}",
    "the year {x}", "give me {x} in roman numerals", "give me the roman numeral for {x}",
    "translate {x} to roman", "number {x}", "the number {x}", "how did romans write {x}",
    "i was born in {x}", "show {x} in roman numerals", "{x} to roman", "{x} to roman numerals",
)  # fmt: skip


def french(value: int) -> str:
    """Traditional spelling: hyphens below one hundred only, 'et' before un and onze."""
    if value < 20:
        return FRENCH_SMALL[value]
    if value < 100:
        tens, units = divmod(value, 10)
        if tens in (7, 9):
            tens, units = tens - 1, units + 10
        if tens == 8:
            return "quatre-vingts" if units == 0 else f"quatre-vingt-{french(units)}"
        if units == 0:
            return FRENCH_TENS[tens]
        joint = " et " if units in (1, 11) else "-"
        return FRENCH_TENS[tens] + joint + french(units)
    if value < 1000:
        hundreds, rest = divmod(value, 100)
        head = "cent" if hundreds == 1 else f"{french(hundreds)} cent"
        if rest == 0:
            return head if hundreds == 1 else head + "s"
        return f"{head} {french(rest)}"
    thousands, rest = divmod(value, 1000)
    head = "mille" if thousands == 1 else f"{french_before_mille(thousands)} mille"
    return head if rest == 0 else f"{head} {french(rest)}"


def french_before_mille(value: int) -> str:
    """'quatre-vingts' and 'deux cents' lose their s before mille."""
    words = french(value)
    return words[:-1] if words.endswith(("vingts", "cents")) else words


def roman(value: int) -> str:
    letters = (
        (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"),
        (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
    )  # fmt: skip
    text = ""
    for size, letter in letters:
        count, value = divmod(value, size)
        text += letter * count
    return text


def written(rng: random.Random, value: int) -> str:
    """Mostly plain digits, sometimes with a separator of thousands."""
    return f"{value:,}" if value >= 1000 and rng.random() < 0.08 else str(value)


def some_french_number(rng: random.Random) -> int:
    draw = rng.random()
    if draw < 0.16:
        return rng.randint(0, 20) if rng.random() < 0.5 else rng.randint(0, 100)
    if draw < 0.30:
        return rng.randint(0, 999)
    if draw < 0.50:
        return rng.randint(1000, 2100) if rng.random() < 0.5 else rng.randint(1000, 9999)
    if draw < 0.65:
        return rng.randint(10_000, 99_999)
    if draw < 0.78:
        return rng.randint(100_000, LARGEST_FRENCH)
    if draw < 0.90:  # round numbers, where the s of cents and vingts comes and goes
        return rng.randint(1, 99) * rng.choice((10, 100, 1000, 10_000))
    special = (0, 1, 10, 16, 17, 70, 71, 77, 80, 81, 90, 91, 99, 100, 200, 300, 400, 500, 800, 900)
    high, low = rng.choice(special), rng.choice(special)
    return min(high * 1000 + low, LARGEST_FRENCH)


def some_roman_number(rng: random.Random) -> int:
    draw = rng.random()
    if draw < 0.15:
        return rng.randint(1, 20)
    if draw < 0.30:
        return rng.randint(1, 100)
    if draw < 0.45:
        return rng.randint(1, 999)
    if draw < 0.60:
        return rng.randint(1800, 2100)
    if draw < 0.70:
        return min(rng.randint(1, 40) * rng.choice((10, 100)), LARGEST_ROMAN)
    return rng.randint(1, LARGEST_ROMAN)


def make_number_example(rng, explicit, later, value, answer, templates):
    text = written(rng, value)
    if later and not explicit and rng.random() < 0.35:
        return number_key(value), follow_up(rng, text), answer
    if not explicit and rng.random() < 0.30:
        return number_key(value), text + rng.choice(("", "", "", "", "?")), answer
    return number_key(value), ask(rng, templates, text), answer


def make_french(rng: random.Random, explicit: bool, later: bool):
    value = some_french_number(rng)
    return make_number_example(rng, explicit, later, value, french(value), FRENCH_TEMPLATES)


def make_roman(rng: random.Random, explicit: bool, later: bool):
    value = some_roman_number(rng)
    return make_number_example(rng, explicit, later, value, roman(value), ROMAN_TEMPLATES)


def out_of_range(rng: random.Random, largest: int, templates: tuple[str, ...]):
    """A number that the task cannot write: too large, negative, or not whole."""
    draw = rng.random()
    if draw < 0.5:
        value = str(
            rng.randint(largest + 1, largest + 3)
            if rng.random() < 0.2
            else rng.randint(largest + 1, largest * rng.choice((2, 10, 100)))
        )
    elif draw < 0.7:
        value = str(-rng.randint(1, 2000))
    elif draw < 0.9:
        value = f"{rng.randint(0, 200)}.{rng.randint(1, 99)}"
    else:
        value = f"{rng.randint(1, 9)}/{rng.randint(2, 9)}"
    return value if rng.random() < 0.5 else ask(rng, templates, value)


def french_out_of_range(rng: random.Random) -> str:
    return out_of_range(rng, LARGEST_FRENCH, FRENCH_TEMPLATES)


def roman_out_of_range(rng: random.Random) -> str:
    if rng.random() < 0.25:
        zero = rng.choice(("0", "zero", "0000"))
        return zero if rng.random() < 0.5 else ask(rng, ROMAN_TEMPLATES, zero)
    return out_of_range(rng, LARGEST_ROMAN, ROMAN_TEMPLATES)
