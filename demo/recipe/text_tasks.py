"""Reversing, pig latin and Morse code: tasks on words and short phrases."""

import random

from recipe import words
from recipe.phrasing import ask, follow_up
from recipe.split import text_key

REVERSE_TEMPLATES = (
    "reverse: {x}", "reverse {x}", "reverse the word {x}", "reverse the text {x}",
    "reverse the string {x}", "reverse '{x}'", 'reverse "{x}"', "{x} backwards", "{x} reversed",
    "what is {x} backwards", "what is {x} reversed", "what's {x} backwards", "{x} in reverse",
    "spell {x} backwards", "write {x} backwards", "say {x} backwards", "backwards: {x}",
    "how do you spell {x} backwards", "how do you write {x} backwards", "turn {x} around",
    "the reverse of {x}", "what is the reverse of {x}", "flip {x}", "flip: {x}", "mirror {x}",
    "reverse this: {x}", "reverse this word: {x}", "give me {x} backwards", "reversed {x}",
    "what is '{x}' backwards", 'what is "{x}" backwards', "reverse the letters of {x}",
    "reverse the name {x}", "reverse my name: {x}", "can you reverse {x}", "write {x} in reverse",
)  # fmt: skip

PIG_LATIN_TEMPLATES = (
    "pig latin: {x}", "{x} in pig latin", "say {x} in pig latin", "what is {x} in pig latin",
    "what's {x} in pig latin", "how do you say {x} in pig latin", "translate {x} to pig latin",
    "translate {x} into pig latin", "translate to pig latin: {x}", "convert {x} to pig latin",
    "pig latin for {x}", "the pig latin for {x}", "turn {x} into pig latin", "piglatin: {x}",
    "write {x} in pig latin", "pig latin of {x}", "say '{x}' in pig latin", "{x} to pig latin",
    'say "{x}" in pig latin', "what is '{x}' in pig latin", "give me {x} in pig latin",
    "how would you say {x} in pig latin", "speak pig latin: {x}", "put {x} into pig latin",
    "translate: {x}", "translate {x}", "piglatin {x}", "pig latin {x}",
)  # fmt: skip

MORSE_TEMPLATES = (
    "morse: {x}", "{x} in morse", "{x} in morse code", "what is {x} in morse code",
    "what is {x} in morse", "what's {x} in morse code", "morse code for {x}", "morse for {x}",
    "morse code of {x}", "translate {x} to morse", "translate {x} to morse code",
    "convert {x} to morse", "convert {x} to morse code", "write {x} in morse code",
    "say {x} in morse code", "send {x}", "send {x} in morse", "how do you say {x} in morse code",
    "how do you write {x} in morse code", "encode {x}", "encode {x} in morse", "morse {x}",
    "turn {x} into morse code", "the morse code for {x}", "what is the morse code for {x}",
    "spell {x} in morse code", "give me {x} in morse code", "morse code: {x}", "{x} to morse",
    "what is '{x}' in morse code", 'encode "{x}"', "tap out {x}", "telegraph {x}", "signal {x}",
)  # fmt: skip

MORSE = dict(zip(
    "abcdefghijklmnopqrstuvwxyz0123456789.,?!'/-",
    (".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .--"
     " -..- -.-- --.. ----- .---- ..--- ...-- ....- ..... -.... --... ---.. ----. .-.-.- --..--"
     " ..--.. -.-.-- .----. -..-. -....-").split(),
))  # fmt: skip


def morse(text: str) -> str:
    """Letters a space apart, words ' / ' apart."""
    return " / ".join(" ".join(MORSE[c] for c in word) for word in text.lower().split())


def pig_latin_word(word: str) -> str:
    """Vowel first: +way. Else the consonants before the first vowel go to the end: +ay.

    'qu' moves as one; y is a consonant at the start of a word and a vowel later. Punctuation at
    the end stays there. Capitals: Hello -> Ellohay, HELLO -> ELLOHAY.
    """
    core = word.rstrip(".,!")
    tail = word[len(core) :]
    lower = core.lower()
    if lower[0] in "aeiou":
        moved = lower + "way"
    else:
        cut = 1
        while cut < len(lower) and lower[cut] not in "aeiouy":
            cut += 1
        if lower[cut - 1 : cut + 1] == "qu":
            cut += 1
        moved = lower[cut:] + lower[:cut] + "ay"
    if len(core) > 1 and core.isupper():
        moved = moved.upper()
    elif core[0].isupper():
        moved = moved.capitalize()
    return moved + tail


def pig_latin(text: str) -> str:
    return " ".join(pig_latin_word(word) for word in text.split())


def cased_phrase(rng: random.Random, parts: list[str]) -> str:
    draw = rng.random()
    if draw < 0.45:
        return " ".join(parts).lower()
    if draw < 0.65:
        return " ".join(parts).lower().capitalize()
    if draw < 0.90:
        return " ".join(part.capitalize() for part in parts)
    return " ".join(parts).upper()


def some_phrase(rng: random.Random, most_words: int, longest: int) -> str:
    """One word half the time; else a name, a place, a greeting or words at random."""
    draw = rng.random()
    if draw < 0.55:
        text = words.cased(rng, words.word(rng))
    elif draw < 0.62:
        text = words.person(rng)
    elif draw < 0.70:
        text = words.city(rng)
    elif draw < 0.75:
        text = cased_phrase(rng, rng.choice(words.SENTENCES).split())
    elif draw < 0.80:
        text = cased_phrase(rng, [rng.choice(words.ADJECTIVES), words.word(rng)])
    else:
        count = rng.randint(2, most_words)
        text = cased_phrase(rng, [words.word(rng, 9) for _ in range(count)])
    if rng.random() < 0.06:
        text = text.replace(" ", ", ", 1) + rng.choice(("!", "!", "", "."))
    text = text.strip()
    if len(text.split()) > most_words or len(text) > longest:
        return words.cased(rng, words.word(rng))
    return text


def shapeless(rng: random.Random) -> str:
    """Figures, and letters with figures: 'abc123', '42'."""
    alphabet = rng.choice(("0123456789", "0123456789", "abcdefghijklmnopqrstuvwxyz0123456789"))
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(1, 8)))


def make_text_example(rng, explicit, later, text, answer, templates):
    key = text_key(text)
    if later and not explicit and rng.random() < 0.30 and not text.endswith((".", "!")):
        return key, follow_up(rng, text), answer
    if not explicit and rng.random() < 0.45:
        return key, text, answer
    return key, ask(rng, templates, text), answer


def make_reverse(rng: random.Random, explicit: bool, later: bool):
    text = shapeless(rng) if rng.random() < 0.07 else some_phrase(rng, 3, 28)
    return make_text_example(rng, explicit, later, text, text[::-1], REVERSE_TEMPLATES)


def make_pig_latin(rng: random.Random, explicit: bool, later: bool):
    text = some_phrase(rng, 5, 36).replace("St. ", "Saint ")
    return make_text_example(rng, explicit, later, text, pig_latin(text), PIG_LATIN_TEMPLATES)


def make_morse(rng: random.Random, explicit: bool, later: bool):
    if rng.random() < 0.10:
        text = shapeless(rng)
    elif rng.random() < 0.12:
        text = words.cased(rng, words.letters(rng, 4))
    else:
        text = some_phrase(rng, 3, 20)
    return make_text_example(rng, explicit, later, text, morse(text), MORSE_TEMPLATES)
