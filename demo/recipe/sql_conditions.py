"""The conditions that a question about a table may have: in words, and in SQL."""

import random

from recipe import words

PEOPLE = ("users", "customers", "employees")
DEPARTMENTS = "sales marketing engineering finance support legal hr research".split()
CATEGORIES = "toys books electronics clothing food furniture garden music sports shoes".split()
COLORS = "red blue green black white yellow".split()
STATUSES = "pending shipped delivered cancelled paid open".split()


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def place_condition(rng: random.Random):
    def one():
        if rng.random() < 0.25:
            return "country", rng.choice(words.COUNTRIES)
        name = words.city(rng)
        return "city", name.lower() if rng.random() < 0.08 else name

    column, value = one()
    stored = value.removeprefix("the ")
    lead = rng.choice(
        (
            "who live in",
            "living in",
            "from",
            "from",
            "in",
            "in",
            "based in",
            "that live in",
            "located in",
            "who come from",
            "who are from",
            f"whose {column} is",
        )
    )
    if rng.random() < 0.10:
        other = one()
        while other[0] != column or other[1] == value:
            other = one()
        second = other[1].removeprefix("the ")
        return f"{lead} {value} or {other[1]}", f"{column} IN ({quoted(stored)}, {quoted(second)})"
    return f"{lead} {value}", f"{column} = {quoted(stored)}"


COMPARISONS = {
    "age": {">": ("older than", "over", "above", "who are older than", "aged over", "who are over",
                  "that are older than", "with age over", "older then"),
            "<": ("younger than", "under", "below", "who are younger than", "aged under",
                  "who are under", "that are younger than"),
            ">=": ("at least", "aged at least"), "=": ("aged", "who are", "of age", "with age")},
    "salary": {">": ("earning more than", "who earn more than", "who make more than",
                     "earning over",
                     "with a salary over", "with a salary above", "paid more than",
                     "who earn over", "making over", "with salary over"),
               "<": ("earning less than", "who earn less than", "who make less than",
                     "with a salary under", "with a salary below", "earning under")},
    "price": {">": ("over", "above", "that cost more than", "costing more than", "priced over",
                    "more expensive than", "with a price over", "with a price above"),
              "<": ("under", "below", "that cost less than", "costing less than", "cheaper than",
                    "priced under", "for less than", "with a price under", "less than"),
              "=": ("that cost", "costing", "priced at")},
    "rating": {">": ("rated above", "rated over", "with a rating above", "with a rating over"),
               "<": ("rated below", "rated under", "with a rating below", "with a rating under")},
    "stock": {">": ("with more than {n} in stock", "with stock over {n}"),
              "<": ("with less than {n} in stock", "with fewer than {n} in stock",
                    "with stock under {n}")},
    "total": {">": ("over", "above", "worth more than", "with a total over", "of more than",
                    "bigger than", "with a total above", "larger than"),
              "<": ("under", "below", "worth less than", "with a total under", "of less than",
                    "smaller than", "with a total below")},
}  # fmt: skip


def number_condition(rng: random.Random, column: str):
    table = COMPARISONS[column]
    if column == "rating":
        value = rng.choice(("1", "2", "3", "4", "5", "3.5", "4.5", "2.5", "4.8"))
    elif column == "age":
        value = str(rng.randint(1, 99))
    elif column == "salary":
        value = str(rng.randint(1, 200) * rng.choice((100, 500, 1000, 1000)))
    else:
        value = str(
            rng.choice(
                (
                    rng.randint(1, 99),
                    rng.randint(1, 20) * 10,
                    rng.randint(1, 99) * 100,
                    rng.randint(1, 999),
                )
            )
        )
    if column in ("age", "price", "total") and rng.random() < 0.10:
        high = str(int(value) + rng.randint(1, 50))
        lead = rng.choice(("between {a} and {b}", "between {a} and {b}", "from {a} to {b}"))
        if column == "age":
            lead = rng.choice(
                (
                    lead.replace("from", "aged from"),
                    "aged between {a} and {b}",
                    "aged {a} to {b}",
                    "between {a} and {b} years old",
                )
            )
        return lead.format(a=value, b=high), f"{column} BETWEEN {value} AND {high}"
    sign = rng.choice([s for s in table for _ in range(4 if s in "<>" else 1)])
    money = "$" if column in ("price", "total", "salary") and rng.random() < 0.2 else ""
    lead = rng.choice(table[sign])
    tail = " years old" if lead == "who are" else ""
    tail = (
        rng.choice((" dollars", " euros"))
        if column == "price" and not money and rng.random() < 0.1
        else tail
    )
    text = lead.format(n=value) if "{n}" in lead else f"{lead} {money}{value}{tail}"
    return text, f"{column} {sign} {value}"


def name_condition(rng: random.Random):
    if rng.random() < 0.3:
        start = (
            rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
            if rng.random() < 0.7
            else words.person(rng).split()[0][:3]
        )
        lead = rng.choice(
            (
                "whose name starts with",
                "whose name begins with",
                "with a name starting with",
                "whose names start with",
            )
        )
        return f"{lead} {start}", f"name LIKE '{start}%'"
    name = words.person(rng)
    lead = rng.choice(("named", "called", "with the name", "whose name is", "with name"))
    return f"{lead} {name}", f"name = {quoted(name)}"


def condition(rng: random.Random, table: str):
    """(words before the noun, words after it, SQL)"""
    draw = rng.random()
    if table in PEOPLE:
        if table == "employees" and draw < 0.35:
            name = rng.choice(DEPARTMENTS)
            lead = rng.choice(
                (
                    "in",
                    "in",
                    "who work in",
                    "working in",
                    "from",
                    "in the {d} department",
                    "from the {d} department",
                    "who work in the {d} department",
                    "of",
                )
            )
            return (
                "",
                lead.format(d=name) if "{d}" in lead else f"{lead} {name}",
                f"department = {quoted(name)}",
            )
        if table == "employees" and draw < 0.55:
            return "", *number_condition(rng, "salary")
        if draw < (0.72 if table == "employees" else 0.48):
            return "", *(city_condition(rng) if table == "employees" else place_condition(rng))
        if draw < 0.88:
            return "", *number_condition(rng, "age")
        if draw < 0.92 and table != "employees":
            mail = f"{words.word(rng, 8)}@{rng.choice(('example.com', 'mail.org'))}"
            return (
                "",
                rng.choice(("with email", "with the email", "whose email is")) + f" {mail}",
                f"email = {quoted(mail)}",
            )
        return "", *name_condition(rng)
    if table == "products":
        if draw < 0.42:
            return "", *number_condition(rng, "price")
        if draw < 0.52:
            return "", *number_condition(rng, rng.choice(("rating", "stock")))
        if draw < 0.66:
            color = rng.choice(COLORS)
            return f"{color} ", "", f"color = {quoted(color)}"
        if draw < 0.76:
            return "", *rng.choice(
                (
                    ("out of stock", "stock = 0"),
                    ("in stock", "stock > 0"),
                    ("that are out of stock", "stock = 0"),
                    ("that are in stock", "stock > 0"),
                )
            )
        if draw < 0.93:
            name = rng.choice(CATEGORIES) if rng.random() < 0.6 else words.word(rng, 10)
            lead = rng.choice(
                (
                    "in the category {c}",
                    "in the {c} category",
                    "in category {c}",
                    "from the {c} category",
                    "of category {c}",
                )
            )
            return "", lead.format(c=name), f"category = {quoted(name)}"
        name = words.word(rng, 12)
        return "", rng.choice(("named", "called")) + f" {name}", f"name = {quoted(name)}"
    if draw < 0.30:
        status = rng.choice(STATUSES)
        return f"{status} ", "", f"status = {quoted(status)}"
    if draw < 0.42:
        status = rng.choice(STATUSES)
        lead = rng.choice(
            (
                "that are {s}",
                "which are {s}",
                "with status {s}",
                "whose status is {s}",
                "with the status {s}",
            )
        )
        return "", lead.format(s=status), f"status = {quoted(status)}"
    if draw < 0.68:
        return "", *number_condition(rng, "total")
    if draw < 0.82:
        name = words.person(rng)
        lead = rng.choice(
            (
                "by",
                "from",
                "from customer",
                "by customer",
                "of",
                "placed by",
                "made by",
                "for customer",
            )
        )
        return "", f"{lead} {name}", f"customer = {quoted(name)}"
    if draw < 0.92:
        name = words.word(rng, 10)
        return (
            "",
            rng.choice(("for product", "for the product", "of product", "with product"))
            + f" {name}",
            f"product = {quoted(name)}",
        )
    date = f"{rng.randint(2000, 2030)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
    lead, sign = rng.choice(
        (
            ("after", ">"),
            ("since", ">="),
            ("before", "<"),
            ("on", "="),
            ("placed after", ">"),
            ("placed before", "<"),
        )
    )
    return "", f"{lead} {date}", f"date {sign} {quoted(date)}"


def city_condition(rng: random.Random):
    while True:
        text, sql = place_condition(rng)
        if sql.startswith("city"):
            return text, sql
