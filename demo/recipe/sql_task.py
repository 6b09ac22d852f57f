"""Questions about five tables, to SQL. The model card documents the tables."""

import random

from recipe.phrasing import ask, capitalised, decorated
from recipe.sql_conditions import PEOPLE, condition

COLUMNS = {
    "users": {"name": "names", "email": "emails", "age": "ages", "city": "cities",
              "country": "countries", "id": "ids"},
    "customers": {"name": "names", "email": "emails", "age": "ages", "city": "cities",
                  "country": "countries", "id": "ids"},
    "employees": {"name": "names", "age": "ages", "city": "cities", "department": "departments",
                  "salary": "salaries"},
    "products": {"name": "names", "price": "prices", "category": "categories", "color": "colors",
                 "stock": "stock", "rating": "ratings"},
    "orders": {"id": "ids", "customer": "customers", "product": "products", "status": "statuses",
               "total": "totals", "date": "dates"},
}  # fmt: skip
NUMERIC = {"users": ("age",), "customers": ("age",), "employees": ("age", "salary", "salary"),
           "products": ("price", "price", "rating", "stock"), "orders": ("total",)}  # fmt: skip
GROUPS = {"users": ("city", "country"), "customers": ("city", "country"),
          "employees": ("department", "city"), "products": ("category", "color"),
          "orders": ("status", "customer", "product")}  # fmt: skip
WEIGHTS = {"users": 30, "customers": 20, "employees": 18, "products": 18, "orders": 18}

# what people call the ends of an ordering: word -> (column, direction)
EXTREMES = {
    "users": {"oldest": ("age", "DESC"), "youngest": ("age", "ASC")},
    "customers": {"oldest": ("age", "DESC"), "youngest": ("age", "ASC")},
    "employees": {"oldest": ("age", "DESC"), "youngest": ("age", "ASC"),
                  "highest paid": ("salary", "DESC"), "best paid": ("salary", "DESC"),
                  "lowest paid": ("salary", "ASC")},
    "products": {"most expensive": ("price", "DESC"), "cheapest": ("price", "ASC"),
                 "best rated": ("rating", "DESC"), "worst rated": ("rating", "ASC"),
                 "top rated": ("rating", "DESC")},
    "orders": {"largest": ("total", "DESC"), "biggest": ("total", "DESC"),
               "smallest": ("total", "ASC"), "latest": ("date", "DESC"), "newest": ("date", "DESC"),
               "oldest": ("date", "ASC")},
}  # fmt: skip
AGGREGATES = {"average": "AVG", "mean": "AVG", "maximum": "MAX", "highest": "MAX", "minimum": "MIN",
              "lowest": "MIN", "total": "SUM"}  # fmt: skip


def filtered(rng: random.Random, table: str, least: int = 0):
    """(noun phrase with its conditions, WHERE clause or empty)"""
    count = max(least, rng.choice((0, 1, 1, 1, 1, 1, 2, 2)))
    chosen = []
    while len(chosen) < count:
        new = condition(rng, table)
        if all(new[2].split()[0] != old[2].split()[0] for old in chosen):
            chosen.append(new)
    before = "".join(c[0] for c in chosen)
    after = [c[1] for c in chosen if c[1]]
    noun = f"{before}{table}"
    if after:
        noun += " " + (after[0] if len(after) == 1 else join_conditions(rng, after))
    where = " AND ".join(c[2] for c in sorted(chosen, key=lambda c: not c[0]))
    return noun, f" WHERE {where}" if where else ""


def join_conditions(rng: random.Random, after: list[str]) -> str:
    first, second = after
    for lead in (
        "who live",
        "who are",
        "who earn",
        "who make",
        "who work",
        "that are",
        "that cost",
    ):
        if second.startswith(lead) and rng.random() < 0.6 and first.startswith(lead.split()[0]):
            second = second.removeprefix(lead.split()[0] + " ")
            return f"{first} and {second}"
    return first + rng.choice((" and ", " and ", " ")) + second


SHOW = ("list", "show", "show me", "get", "find", "give me", "display", "select", "fetch", "i want",
        "list all", "show all", "show me all", "get all", "find all", "give me all", "list the",
        "show the", "find the", "get the", "give me the", "list all the", "return all", "all",
        "which", "", "", "search for", "look up", "print all", "tell me the", "i need all",
        "select all", "who are the", "what are the")  # fmt: skip


def select_rows(rng: random.Random, table: str):
    noun, where = filtered(rng, table)
    lead = rng.choice(SHOW)
    if lead in ("which", "", "who are the", "what are the") and not where:
        lead = "list all"
    if lead == "who are the" and table not in PEOPLE:
        lead = "what are the"
    if lead == "which":
        noun = question_form(rng, noun, table)
    return f"{lead} {noun}".strip(), f"SELECT * FROM {table}{where};"


def question_form(rng: random.Random, noun: str, table: str) -> str:
    """'users who live in Paris' -> 'users live in Paris', as after 'which' and 'how many'."""
    for lead in (" who ", " that "):
        if lead in noun and rng.random() < 0.75:
            return noun.replace(lead, " ", 1)
    for lead in (
        " over",
        " under",
        " in",
        " from",
        " older",
        " younger",
        " above",
        " below",
        " out of",
        " named",
        " called",
        " based",
        " located",
        " rated",
        " cheaper",
        " more expensive",
    ):
        if noun.startswith(table + lead) and rng.random() < 0.5:
            return noun.replace(lead, " are" + lead, 1)
    return noun


def select_columns(rng: random.Random, table: str):
    noun, where = filtered(rng, table)
    names = rng.sample(list(COLUMNS[table]), rng.choice((1, 1, 1, 2, 2, 3)))
    used = where.split()
    spoken = [COLUMNS[table][n] if rng.random() < 0.6 else n for n in names]
    if names[0] in used[1:2]:
        return select_columns(rng, table)
    listed = spoken[0] if len(spoken) == 1 else ", ".join(spoken[:-1]) + " and " + spoken[-1]
    lead = rng.choice(("list", "list the", "show", "show the", "show me the", "get the",
                       "give me the", "find the", "the", "", "what are the", "what is the",
                       "select", "get", "return the", "tell me the", "i want the", "list all",
                       "get all"))  # fmt: skip
    joint = rng.choice(("of", "of", "of", "of all", "of the", "for", "for all", "of every"))
    if joint == "of every":
        joint = "of all"
    text = f"{lead} {listed} {joint} {noun}".strip()
    return text, f"SELECT {', '.join(names)} FROM {table}{where};"


def count_rows(rng: random.Random, table: str):
    noun, where = filtered(rng, table)
    draw = rng.random()
    if draw < 0.60:
        verb = "are placed" if table == "orders" else "are there"
        if not where:
            text = f"how many {noun} " + rng.choice(
                (verb, "are there", "do we have", "exist", "are in the database")
            )
        else:
            body = question_form(rng, noun, table)
            if rng.random() < 0.25:
                head, _, tail = noun.partition(table)
                body = f"{head}{table} {rng.choice(('are there', 'do we have'))}{tail}"
            text = f"how many {body}"
    else:
        lead = rng.choice(
            (
                "count",
                "count the",
                "count all",
                "number of",
                "the number of",
                "what is the number of",
                "count of",
                "give me the number of",
                "total number of",
                "tell me how many",
            )
        )
        text = f"{lead} {noun}"
    return text, f"SELECT COUNT(*) FROM {table}{where};"


def aggregate(rng: random.Random, table: str):
    noun, where = filtered(rng, table)
    column = rng.choice(NUMERIC[table])
    word = rng.choice(list(AGGREGATES))
    if word == "total" and column in ("age", "rating", "total"):
        word = "average"
    lead = rng.choice(
        (
            "what is the",
            "the",
            "",
            "what's the",
            "show the",
            "give me the",
            "find the",
            "calculate the",
            "tell me the",
        )
    )
    spoken = f"{word} {column}"
    if table == "orders" and rng.random() < 0.25:
        spoken, word = rng.choice(
            (
                ("sum", "total"),
                ("sum of the totals", "total"),
                ("total revenue", "total"),
                ("total value", "total"),
            )
        )
    text = f"{lead} {spoken} {rng.choice(('of', 'of', 'of all', 'for', 'of the'))} {noun}".strip()
    return text, f"SELECT {AGGREGATES[word]}({column}) FROM {table}{where};"


def ordered(rng: random.Random, table: str):
    noun, where = filtered(rng, table) if rng.random() < 0.35 else (table, "")
    if rng.random() < 0.65:
        word = rng.choice(list(EXTREMES[table]))
        column, way = EXTREMES[table][word]
        count = rng.choice((1, 3, 5, 10, 10, 20, rng.randint(2, 100)))
        lead = rng.choice(
            (
                "",
                "the",
                "list the",
                "show the",
                "show me the",
                "find the",
                "get the",
                "give me the",
                "who are the" if table in PEOPLE else "what are the",
                "which are the",
            )
        )
        if count == 1:
            single = noun.replace(table, table[:-1], 1)
            lead = lead.replace(" are ", " is ")
            return (
                f"{lead} {word} {single}".strip(),
                f"SELECT * FROM {table}{where} ORDER BY {column} {way} LIMIT 1;",
            )
        place = f"{count} {word}" if rng.random() < 0.8 else f"top {count} {word}"
        return (
            f"{lead} {place} {noun}".strip(),
            f"SELECT * FROM {table}{where} ORDER BY {column} {way} LIMIT {count};",
        )
    column = rng.choice(list(NUMERIC[table]) + ["name" if table != "orders" else "date"])
    if rng.random() < 0.3 and column not in ("name", "date"):
        count = rng.choice((3, 5, 10, rng.randint(2, 50)))
        lead = rng.choice(("", "the ", "show the ", "list the "))
        return (
            f"{lead}top {count} {noun} by {column}",
            f"SELECT * FROM {table}{where} ORDER BY {column} DESC LIMIT {count};",
        )
    word, way = rng.choice(
        (
            ("", "ASC"),
            ("", "ASC"),
            (" descending", "DESC"),
            (" ascending", "ASC"),
            (" desc", "DESC"),
        )
    )
    lead = rng.choice(
        (
            "list",
            "list all",
            "show",
            "show all",
            "show me all",
            "get all",
            "list the",
            "all",
            "sort",
        )
    )
    how = (
        "by"
        if lead == "sort"
        else rng.choice(("sorted by", "ordered by", "by", "order by", "sort by"))
    )
    return (
        f"{lead} {noun} {how} {column}{word}",
        f"SELECT * FROM {table}{where} ORDER BY {column} {way};",
    )


def grouped(rng: random.Random, table: str):
    noun, where = filtered(rng, table) if rng.random() < 0.2 else (table, "")
    column = rng.choice(GROUPS[table])
    joint = rng.choice(("per", "by", "in each", "for each", "per", "for every"))
    if rng.random() < 0.65:
        lead = rng.choice(
            ("how many", "count", "number of", "count the", "the number of", "how many")
        )
        there = rng.choice(("", " are there", " do we have")) if lead == "how many" else ""
        return (
            f"{lead} {noun}{there} {joint} {column}",
            f"SELECT {column}, COUNT(*) FROM {table}{where} GROUP BY {column};",
        )
    word = rng.choice(("average", "highest", "lowest", "maximum", "minimum"))
    number = rng.choice(NUMERIC[table])
    text = rng.choice(
        (
            f"{word} {number} of {noun} {joint} {column}",
            f"what is the {word} {number} of {noun} {joint} {column}",
            f"the {word} {number} of {noun} {joint} {column}",
        )
    )
    return (
        text,
        f"SELECT {column}, {AGGREGATES[word]}({number}) FROM {table}{where} GROUP BY {column};",
    )


def distinct(rng: random.Random, table: str):
    column = rng.choice(GROUPS[table])
    plural = COLUMNS[table][column]
    lead = rng.choice(
        (
            "list the different",
            "which different",
            "all distinct",
            "the distinct",
            "list the unique",
            "show the different",
            "unique",
            "distinct",
            "what are the different",
            "show distinct",
        )
    )
    return (
        f"{lead} {plural} of {rng.choice(('', 'all ', 'the '))}{table}",
        f"SELECT DISTINCT {column} FROM {table};",
    )


def delete(rng: random.Random, table: str):
    noun, where = filtered(rng, table, 1)
    return (
        f"{rng.choice(('delete', 'delete all', 'remove', 'remove all', 'delete the'))} {noun}",
        f"DELETE FROM {table}{where};",
    )


FORMS = ((select_rows, 30), (count_rows, 25), (select_columns, 16), (aggregate, 10), (ordered, 12),
         (grouped, 6), (distinct, 2), (delete, 3))  # fmt: skip
TEMPLATES = ("sql: {x}", "write sql: {x}", "query: {x}", "sql for {x}", "write a query: {x}",
             "sql query for {x}", "sql to {x}", "write a query to {x}")  # fmt: skip


def make_sql(rng: random.Random, explicit: bool, later: bool):
    table = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    form = rng.choices([f for f, _ in FORMS], [w for _, w in FORMS])[0]
    text, query = form(rng, table)
    key = f"sql:{query}"
    if later and rng.random() < 0.25:
        lead = rng.choice(("and ", "and ", "now ", "ok, ", "then ", "and now "))
        return key, capitalised(lead + text) if rng.random() < 0.4 else lead + text, query
    draw = rng.random()
    if draw < 0.08:
        return key, ask(rng, TEMPLATES, text), query
    if draw < 0.20 and " " not in text.replace(table, "", 1).strip():
        return key, text, query
    return key, decorated(rng, text), query
