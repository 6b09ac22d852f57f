"""Wraps an input in the many ways in which people ask for the same thing."""

import random

VERBS = (
    "convert", "count", "delete", "encode", "fetch", "find", "flip", "format", "get", "give",
    "list", "make", "mirror", "morse", "normalize", "parse", "put", "reverse", "say", "send",
    "show", "signal", "spell", "tell", "translate", "turn", "write",
)  # fmt: skip
QUESTION_STARTS = ("what", "how", "which", "who", "can", "could", "do", "is", "are")

# A second or later question in a chat is often only half a sentence.
FOLLOW_UPS = (
    "and {x}?", "and {x}", "what about {x}?", "how about {x}?", "now {x}", "and now {x}",
    "then {x}", "ok, {x}", "next: {x}", "{x}?", "what about {x}", "also {x}", "ok and {x}?",
    "and for {x}?", "same for {x}", "now do {x}", "try {x}", "ok now {x}",
)  # fmt: skip


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def decorated(rng: random.Random, template: str) -> str:
    """Courtesy, capital letter and end mark, added around the words of a template."""
    question = template.startswith(QUESTION_STARTS)
    if template.split()[0].rstrip(":") in VERBS and rng.random() < 0.15:
        template = rng.choice(("please ", "please ", "can you ", "could you ")) + template
        question = template.startswith("c")
    if not template.endswith(": {x}") and rng.random() < 0.06:
        template += rng.choice((" please", ", please"))
    if not template.startswith("{x}") and rng.random() < 0.45:
        template = capitalised(template)
    if question and not template.endswith("?"):
        template += "?" if rng.random() < 0.7 else ""
    elif not template.endswith(("{x}", "?")) and rng.random() < 0.12:
        template += rng.choice((".", "!"))
    return template


def ask(rng: random.Random, templates: tuple[str, ...], text: str) -> str:
    return decorated(rng, rng.choice(templates)).replace("{x}", text)


def follow_up(rng: random.Random, text: str) -> str:
    template = rng.choice(FOLLOW_UPS)
    if rng.random() < 0.35:
        template = capitalised(template)
    return template.replace("{x}", text)
