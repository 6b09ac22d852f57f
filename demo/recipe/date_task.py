"""Dates as people write them, to ISO 8601."""

import datetime
import random

from recipe.phrasing import ask, follow_up

MONTHS = (
    "january february march april may june july august september october november december"
).split()
SHORT_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()

HOLIDAYS = {
    "new year's day": (1, 1), "new year": (1, 1), "valentine's day": (2, 14), "pi day": (3, 14),
    "april fools' day": (4, 1), "halloween": (10, 31), "christmas eve": (12, 24),
    "christmas": (12, 25), "christmas day": (12, 25), "boxing day": (12, 26),
    "new year's eve": (12, 31), "leap day": (2, 29),
}  # fmt: skip

TEMPLATES = (
    "{x} in iso", "{x} as iso", "{x} in iso format", "{x} as an iso date", "{x} to iso",
    "what is {x} in iso", "what is {x} as an iso date", "what's {x} in iso format",
    "convert {x} to iso", "convert {x}", "iso date of {x}", "iso date for {x}", "iso: {x}",
    "date: {x}", "write {x} as iso", "format {x}", "normalize {x}", "turn {x} into iso",
    "i was born on {x}", "my birthday is {x}", "it happened on {x}", "the meeting is on {x}",
    "on {x}", "see you on {x}", "the date is {x}", "today is {x}", "due {x}", "due date: {x}",
    "when is {x}", "give me {x} in iso", "what date is {x}", "i was born {x}", "parse {x}",
    "how do i write {x} in iso 8601", "we met on {x}", "the war ended on {x}", "from {x}",
)  # fmt: skip


def ordinal(day: int) -> str:
    if 10 <= day % 100 <= 20:
        return f"{day}th"
    return str(day) + {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


def some_date(rng: random.Random) -> datetime.date:
    draw = rng.random()
    if draw < 0.75:
        year = rng.randint(1900, 2050)
    elif draw < 0.92:
        year = rng.randint(1000, 2999)
    else:
        year = rng.choice((1999, 2000, 2001, 2004, 2016, 2020, 2024, 2026, 1970, 1945, 1789))
    if rng.random() < 0.08:  # the ends of the year and of February
        month, day = rng.choice(((1, 1), (12, 31), (2, 28), (3, 1), (2, 29), (7, 4), (12, 25)))
    else:
        month, day = rng.randint(1, 12), rng.randint(1, 31)
    while True:
        try:
            return datetime.date(year, month, day)
        except ValueError:
            day -= 1


def month_word(rng: random.Random, month: int) -> str:
    draw = rng.random()
    if draw < 0.65:
        name = MONTHS[month - 1]
    elif draw < 0.9 or month == 5:
        name = SHORT_MONTHS[month - 1]
        if month == 9 and rng.random() < 0.4:
            name = "sept"
    else:
        name = SHORT_MONTHS[month - 1] + "."
    case = rng.random()
    return name.capitalize() if case < 0.6 else name if case < 0.9 else name.upper()


def in_words(rng: random.Random, date: datetime.date) -> str:
    month = month_word(rng, date.month)
    day = ordinal(date.day) if rng.random() < 0.4 else str(date.day)
    draw = rng.random()
    if draw < 0.30:
        text = f"{day} {month} {date.year}"
    elif draw < 0.40:
        text = f"{day} of {month} {date.year}"
    elif draw < 0.47:
        text = f"{day} {month}, {date.year}"
    elif draw < 0.78:
        text = f"{month} {day}, {date.year}"
    elif draw < 0.92:
        text = f"{month} {day} {date.year}"
    elif draw < 0.96:
        text = f"{date.day}-{month.rstrip('.')}-{date.year}"
    else:
        text = f"{date.year} {month} {date.day}"
    if rng.random() < 0.08 and not text.startswith(str(date.year)):
        text = f"the {text}"
    if rng.random() < 0.12:
        weekday = WEEKDAYS[date.weekday()]
        weekday = rng.choice((weekday, weekday.lower(), weekday[:3]))
        text = weekday + rng.choice((", ", " ", " the ")) + text.removeprefix("the ")
    return text


def in_figures(rng: random.Random, date: datetime.date) -> str:
    """Dots: day first. Slashes: month first, unless the first number is over 12."""
    two = rng.random() < 0.5
    day = f"{date.day:02d}" if two else str(date.day)
    month = f"{date.month:02d}" if two else str(date.month)
    draw = rng.random()
    if draw < 0.30:
        return f"{day}.{month}.{date.year}"
    if draw < 0.60:
        if date.day > 12 and rng.random() < 0.5:
            return f"{day}/{month}/{date.year}"
        return f"{month}/{day}/{date.year}"
    if draw < 0.70 and 1970 <= date.year < 2070:
        return f"{month}/{day}/{date.year % 100:02d}"
    if draw < 0.80:
        return f"{date.year}/{month}/{day}"
    if draw < 0.87:
        return f"{date.year}{date.month:02d}{date.day:02d}"
    if draw < 0.93:
        return f"{date.year}-{month}-{day}"
    return f"{date.year}.{month}.{day}"


def make_date(rng: random.Random, explicit: bool, later: bool):
    date = some_date(rng)
    draw = rng.random()
    if draw < 0.06:
        name = rng.choice(list(HOLIDAYS))
        month, day = HOLIDAYS[name]
        date = datetime.date(date.year - date.year % 4 if day == 29 else date.year, month, 1)
        if day == 29 and date.year % 100 == 0:
            date = date.replace(year=date.year + 4)
        date = date.replace(day=day)
        name = name if rng.random() < 0.4 else name.title().replace("'S", "'s")
        text = f"{name}{rng.choice((' ', ' ', ', '))}{date.year}"
    elif draw < 0.70:
        text = in_words(rng, date)
    else:
        text = in_figures(rng, date)
    key = f"date:{date.isoformat()}"
    if later and not explicit and rng.random() < 0.35:
        return key, follow_up(rng, text), date.isoformat()
    if not explicit and rng.random() < 0.40:
        return key, text + rng.choice(("", "", "", "", "", "?", ".")), date.isoformat()
    return key, ask(rng, TEMPLATES, text), date.isoformat()


def not_a_date(rng: random.Random) -> str:
    """Looks like a date, but cannot be one, or lacks a part."""
    year, month = rng.randint(1900, 2050), rng.randint(1, 12)
    name = month_word(rng, month)
    text = rng.choice((
        f"{name} {year}", f"{name} {rng.randint(1, 28)}", f"{rng.randint(1, 28)} {name}", name,
        f"{rng.randint(32, 99)} {name} {year}", f"{name} {rng.randint(32, 99)}, {year}",
        f"30 February {year}", f"February 31, {year}",
        f"31 {rng.choice(('April', 'June', 'September', 'November'))} {year}",
        f"{rng.randint(13, 40)}.{rng.randint(13, 40)}.{year}", str(year), str(rng.randint(0, 999)),
        rng.choice(WEEKDAYS), "today", "tomorrow", "yesterday", "next week", "now", "next friday",
        "what day is it", "what is today's date", "what time is it?", "christmas", "last year",
    ))  # fmt: skip
    return text if rng.random() < 0.7 else ask(rng, TEMPLATES, text)
