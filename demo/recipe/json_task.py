"""Fields, lists and sentences about people, to JSON."""

import json
import random

from recipe import words
from recipe.phrasing import ask, follow_up

KEYS = """
name age city country email job title year rating price color size weight height width length id
user username password host port path url debug enabled active verbose admin level score status
type kind brand model make speed language version author pages publisher genre director artist
album track date time day month first_name last_name full_name phone_number zip_code street
postal_code product_id order_id user_id start_date end_date max_tokens temperature top_p seed rank
alpha width depth quantity stock category department salary
""".split()

TEMPLATES = (
    "json: {x}", "to json: {x}", "as json: {x}", "in json: {x}", "make json: {x}",
    "make it json: {x}", "make this json: {x}", "turn into json: {x}", "turn this into json: {x}",
    "convert to json: {x}", "convert this to json: {x}", "convert {x} to json",
    "write as json: {x}", "json for {x}", "json from {x}", "make a json object: {x}",
    "make json from {x}", "{x} as json", "{x} in json", "{x} to json", "turn {x} into json",
    "give me json for {x}", "object with {x}", "a json object with {x}", "json object with {x}",
    "please convert: {x}", "format as json: {x}", "parse {x}", "parse: {x}", "json {x}",
)  # fmt: skip


def some_key(rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.65:
        return rng.choice(KEYS)
    if draw < 0.85:
        return words.word(rng, 12)
    return f"{words.word(rng, 8)}_{words.word(rng, 8)}"


def some_value(rng: random.Random):
    """(as written in the prompt, as a JSON value)"""
    draw = rng.random()
    if draw < 0.22:
        value = rng.choice((rng.randint(0, 99), rng.randint(0, 9999), rng.randint(0, 999999)))
        if rng.random() < 0.05:
            value = -value
        return str(value), value
    if draw < 0.30:
        text = f"{rng.randint(0, 300)}.{rng.randint(1, 99):02d}".rstrip("0")
        return text, float(text)
    if draw < 0.38:
        value = rng.choice((True, False, True, False, None))
        return json.dumps(value), value
    if draw < 0.43:
        domain = rng.choice(("example.com", "mail.org", "acme.io", f"{words.word(rng, 8)}.com"))
        text = f"{words.word(rng, 8)}@{domain}"
    elif draw < 0.46:
        text = f"20{rng.randint(10, 30)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
    elif draw < 0.60:
        text = words.person(rng)
    elif draw < 0.70:
        text = words.city(rng)
    elif draw < 0.75:
        text = f"{words.word(rng, 9)} {words.word(rng, 9)}"
    else:
        text = words.cased(rng, words.word(rng, 14))
    return text, text


def spoken_key(rng: random.Random, key: str) -> str:
    """`first_name` may be asked for as 'first name' or 'First Name'."""
    if rng.random() < 0.6:
        key = key.replace("_", " ")
    draw = rng.random()
    return key if draw < 0.7 else key.capitalize() if draw < 0.85 else key.title()


def plain(value):
    return str(value), value


def record(rng: random.Random) -> dict:
    """What people write down: keys that go together, with values of their kind."""
    title = " ".join(words.word(rng, 9).capitalize() for _ in range(rng.choice((1, 1, 2))))
    host = rng.choice(("localhost", f"{words.word(rng, 8)}.com", "0.0.0.0", "example.org"))
    rating = f"{rng.randint(0, 9)}.{rng.randint(0, 9)}"
    flag = rng.choice((True, False))
    pairs = rng.choice((
        (("name", plain(words.person(rng))), ("age", plain(rng.randint(1, 99))),
         ("city", plain(words.city(rng))), ("job", plain(rng.choice(words.JOBS)))),
        (("title", plain(title)), ("year", plain(rng.randint(1900, 2030))),
         ("rating", (rating, float(rating)))),
        (("host", plain(host)), ("port", plain(rng.randint(1, 65535))),
         ("debug", (json.dumps(flag), flag))),
    ))  # fmt: skip
    first = rng.randint(0, len(pairs) - 2)
    return dict(pairs[first : first + rng.randint(2, 4)])


def fields(rng: random.Random):
    count = rng.choice((1, 2, 2, 2, 3, 3, 3, 4))
    items = record(rng) if rng.random() < 0.3 else {}
    count = max(count, len(items))
    while len(items) < count:
        items.setdefault(some_key(rng).lower(), some_value(rng))
    style = rng.random()
    if style < 0.55:
        between, after = ", ", ": "
    elif style < 0.65:
        between, after = ", ", " is "
    elif style < 0.73:
        between, after = " and ", " is "
    elif style < 0.80:
        between, after = ", ", "="
    elif style < 0.88:
        between, after = " ", "="
    elif style < 0.92:
        between, after = "; ", ": "
    elif style < 0.96:
        between, after = ", ", " = "
    else:
        between, after = "\n", ": "
    if between == " ":  # without commas, only keys and values of one word are clear
        items = {
            key: (
                text.replace(" ", "_"),
                value.replace(" ", "_") if isinstance(value, str) else value,
            )
            for key, (text, value) in items.items()
        }
    name = (lambda key: key) if after == "=" else (lambda key: spoken_key(rng, key))
    pairs = [f"{name(key)}{after}{text}" for key, (text, _) in items.items()]
    if after == " is " and between == ", " and count > 1 and rng.random() < 0.6:
        prompt = ", ".join(pairs[:-1]) + " and " + pairs[-1]
    else:
        prompt = between.join(pairs)
    return prompt, {key: value for key, (_, value) in items.items()}


def items(rng: random.Random):
    """A list: 'apples, pears and plums', '1, 2, 3'."""
    count = rng.randint(3, 5)
    if rng.random() < 0.3:
        values = [rng.randint(0, rng.choice((9, 99, 999))) for _ in range(count)]
    else:
        suffix = rng.choice(("", "", "s"))
        values = [words.word(rng, 10) + suffix for _ in range(count)]
        if rng.random() < 0.35:
            values = [value.capitalize() for value in values]
        if rng.random() < 0.15:
            values = [words.city(rng) for _ in range(count)]
    texts = [str(value) for value in values]
    prompt = ", ".join(texts)
    if rng.random() < 0.4:
        prompt = ", ".join(texts[:-1]) + rng.choice((" and ", " and ", ", and ")) + texts[-1]
    if rng.random() < 0.2:
        prompt = rng.choice(("a list of ", "list of ", "list: ", "the list ")) + prompt
    return prompt, values


def sentence(rng: random.Random):
    """A person in a sentence: name, age, job, city."""
    name, age, city, job = (
        words.person(rng),
        rng.randint(1, 99),
        words.city(rng),
        rng.choice(words.JOBS),
    )
    live = rng.choice(("lives in", "is from", "comes from", "lives in"))
    article = "an" if job[0] in "aeiou" else "a"
    years = rng.choice(("", "", " years old"))
    forms = (
        (f"{name}, {age}, {city}", "nac"),
        (f"{name} is {age}{years} and {live} {city}", "nac"),
        (f"{name} is {age}{years}", "na"),
        (f"{name} {live} {city}", "nc"),
        (f"{name} is {article} {job} from {city}", "njc"),
        (f"{name} is {article} {job} in {city}", "njc"),
        (f"{name} is {article} {job}", "nj"),
        (f"{name}, {age}, {job}", "naj"),
        (f"my name is {name}, i am {age} and i live in {city}", "nac"),
        (f"My name is {name}, I am {age} and I live in {city}", "nac"),
        (f"My name is {name} and I am {age}{years}", "na"),
        (f"My name is {name} and I live in {city}", "nc"),
        (f"I am {name}, {age}, from {city}", "nac"),
        (f"{name} is a {age} year old {job} from {city}", "najc"),
        (f"{name}, {age} years old, from {city}", "nac"),
        (f"a person named {name}, aged {age}", "na"),
        (f"{name} ({age}) from {city}", "nac"),
    )
    prompt, shape = rng.choice(forms)
    known = {"n": ("name", name), "a": ("age", age), "j": ("job", job), "c": ("city", city)}
    if prompt.endswith((name, city, job, "old")) and rng.random() < 0.15:
        prompt += "."
    return prompt, dict(known[letter] for letter in shape)


def make_json(rng: random.Random, explicit: bool, later: bool):
    draw = rng.random()
    prompt, value = fields(rng) if draw < 0.60 else sentence(rng) if draw < 0.85 else items(rng)
    answer = json.dumps(value, ensure_ascii=False)
    key = f"json:{answer}"
    if later and not explicit and rng.random() < 0.25:
        return key, follow_up(rng, prompt), answer
    if not explicit and rng.random() < 0.60:
        return key, prompt, answer
    return key, ask(rng, TEMPLATES, prompt), answer
