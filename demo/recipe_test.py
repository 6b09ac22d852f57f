"""The rules that the demo's answers follow, and the wall between training and test prompts."""

import json
import pathlib
import random
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import accuracy  # noqa: E402
from recipe.chat import BASE_ANSWER, BASE_NAME, TASKS, ChatMaker, first_minute_keys  # noqa: E402
from recipe.number_tasks import french, roman  # noqa: E402
from recipe.split import Forbidden, is_held_out, normalise  # noqa: E402
from recipe.text_tasks import morse, pig_latin  # noqa: E402


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (HERE / name).read_text(encoding="utf-8").splitlines()]


def test_french_spelling():
    expected = {
        0: "zéro", 21: "vingt et un", 71: "soixante et onze", 80: "quatre-vingts",
        81: "quatre-vingt-un", 91: "quatre-vingt-onze", 100: "cent", 200: "deux cents",
        201: "deux cent un", 1000: "mille", 80_000: "quatre-vingt mille",
        200_000: "deux cent mille", 1999: "mille neuf cent quatre-vingt-dix-neuf",
    }  # fmt: skip
    assert {value: french(value) for value in expected} == expected


def test_roman_numerals():
    assert [roman(n) for n in (1, 4, 49, 1994, 3999)] == ["I", "IV", "XLIX", "MCMXCIV", "MMMCMXCIX"]


def test_pig_latin_and_morse():
    assert pig_latin("Hello, Quiet rhythm of YELLOW apple!") == (
        "Ellohay, Ietquay ythmrhay ofway ELLOWYAY appleway!"
    )
    assert morse("SOS 1") == "... --- ... / .----"


def test_the_first_minute_is_sixty_prompts_with_known_adapters():
    found = rows("first_minute.jsonl")
    assert len(found) == 60
    assert {row["adapter"] for row in found} == {BASE_NAME, *TASKS}
    assert all(row["answer"] == BASE_ANSWER for row in found if row["adapter"] == BASE_NAME)


def test_every_task_has_at_least_200_held_out_prompts():
    for task in TASKS:
        prompts = {row["prompt"] for row in rows("heldout.jsonl") if row["task"] == task}
        assert len(prompts) >= 200


def test_training_never_sees_a_test_prompt():
    tests = {normalise(row["prompt"]) for row in rows("heldout.jsonl")}
    for row in rows("first_minute.jsonl"):
        tests |= {normalise(m["content"]) for m in row["messages"] if m["role"] == "user"}
    maker = ChatMaker(3, Forbidden.load(HERE, first_minute_keys))
    for _ in range(2000):
        assert not {normalise(turn.prompt) for turn in maker.base_chat()} & tests


def test_held_out_keys_are_a_sixteenth_and_spare_small_numbers():
    held_out = sum(is_held_out(f"text:{n}") for n in range(16_000))
    assert 800 < held_out < 1200
    assert not any(is_held_out(f"number:{n}") for n in range(101))


def test_the_same_seed_gives_the_same_text():
    def some():
        maker = ChatMaker(11, Forbidden.load(HERE, first_minute_keys))
        return [maker.base_chat() for _ in range(200)]

    assert some() == some()


def test_accuracy_knows_the_same_tasks_in_the_same_order():
    assert accuracy.TASKS == tuple(TASKS)


def test_task_makers_answer_what_they_ask():
    rng = random.Random(1)
    for _ in range(300):
        _, _, answer = TASKS["json"].make(rng, False, False)
        json.loads(answer)
        key, _, answer = TASKS["roman"].make(rng, False, False)
        assert roman(int(key.removeprefix("number:"))) == answer
