"""Which inputs may be trained on.

Every example has a key, its canonical input: `number:1994`, `text:hello`, `date:1999-12-24`,
`sql:<the query>`, `json:<the object>`. One key in 16, by CRC, is held out from every task, and so
is everything in first_minute.jsonl, both by key and word for word.
"""

import json
import pathlib
import zlib

HELD_OUT_MODULUS = 16
# These are words to learn by heart, not cases to generalise to: nobody can guess "onze".
LARGEST_ATOM = 100


def normalise(text: str) -> str:
    return " ".join(text.lower().split())


def number_key(value: int) -> str:
    return f"number:{value}"


def text_key(text: str) -> str:
    return f"text:{normalise(text)}"


def is_held_out(key: str) -> bool:
    """Belongs to the held-out sixteenth."""
    kind, _, value = key.partition(":")
    if kind == "number" and int(value) <= LARGEST_ATOM:
        return False
    return zlib.crc32(key.encode()) % HELD_OUT_MODULUS == 0


class Forbidden:
    """The prompts and keys of first_minute.jsonl and heldout.jsonl, beside the CRC rule."""

    def __init__(self, keys: set[str], prompts: set[str]):
        self._keys = keys
        self._prompts = prompts

    @classmethod
    def load(cls, folder: pathlib.Path, keys_of_first_minute) -> "Forbidden":
        """`keys_of_first_minute(adapter, prompt, answer)` gives the keys of a hand-written row."""
        keys: set[str] = set()
        prompts: set[str] = set()
        for line in (folder / "first_minute.jsonl").read_text().splitlines():
            row = json.loads(line)
            turns = [message["content"] for message in row["messages"]] + [row["answer"]]
            for prompt, answer in zip(turns[0::2], turns[1::2]):
                prompts.add(normalise(prompt))
                keys |= set(keys_of_first_minute(row["adapter"], prompt, answer))
        held_out = folder / "heldout.jsonl"
        if held_out.exists():
            for line in held_out.read_text().splitlines():
                prompts.add(normalise(json.loads(line)["prompt"]))
        return cls(keys, prompts)

    def allows(self, key: str, prompt: str) -> bool:
        return not is_held_out(key) and key not in self._keys and self.allows_prompt(prompt)

    def allows_prompt(self, prompt: str) -> bool:
        return normalise(prompt) not in self._prompts
