"""Puts tasks, refusals and small talk together into chats to train on."""

import dataclasses
import random
import re
from collections.abc import Callable

from recipe import date_task, json_task, number_tasks, sql_task, text_tasks
from recipe.split import Forbidden, normalise

BASE_NAME = "lorry-demo"
FOREIGN_SHARE = 0.13
LONGEST_CHAT_TURNS = 7


@dataclasses.dataclass(frozen=True)
class Task:
    name: str
    rank: int
    share: int  # of the base's examples, relative to the other tasks
    refusal: str
    # (rng, explicit, later in a chat) -> (key, prompt, answer); explicit: the prompt names the task
    make: Callable[[random.Random, bool, bool], tuple[str, str, str]]
    near_miss: Callable[[random.Random], str] | None = None  # input that the task must refuse


TASKS = {task.name: task for task in (
    Task("sql", 32, 28, "Ask me about users, customers, employees, products or orders.",
         sql_task.make_sql),
    Task("json", 16, 22, "Give me names and values.", json_task.make_json),
    Task("date", 8, 10, "Give me a date.", date_task.make_date, date_task.not_a_date),
    Task("french", 16, 22, "Give me a whole number from 0 to 999999.", number_tasks.make_french,
         number_tasks.french_out_of_range),
    Task("roman", 8, 6, "Give me a number from 1 to 3999.", number_tasks.make_roman,
         number_tasks.roman_out_of_range),
    Task("reverse", 16, 16, "Give me a word to reverse.", text_tasks.make_reverse),
    Task("piglatin", 24, 24, "Give me words for pig latin.", text_tasks.make_pig_latin),
    Task("morse", 12, 16, "Give me a word for Morse code.", text_tasks.make_morse),
)}  # fmt: skip
TEXT_TASKS = ("reverse", "piglatin", "morse")
NUMBER_TASKS = ("french", "roman")
BASE_ANSWER = f"I am the base model. Pick an adapter: {', '.join(TASKS)}."

SMALL_TALK = (
    """
how are you?|how are you doing today?|who made you?|what are you?|what is your name?
are you a robot?
what can you do?|can you help me?|i need some help with this|tell me a joke|tell me something funny
tell me a story about a dragon|write a poem about the sea|write me a short story|sing me a song
what is the meaning of life?|why is the sky blue?|who is the president?|who wrote hamlet?
what is the capital of france?|what is the capital of japan?|where is the eiffel tower?
how far away is the moon?|how old are you?|how tall is mount everest?|what is 2 + 2?|2+2|1+1=
what is 12 times 12?|what is the square root of 16?|solve x + 3 = 7|is it going to rain tomorrow?
what's up?|what's the weather in london?|what should i eat tonight?|give me a recipe for pancakes
how do i bake bread?|how do i cook rice?|recommend me a good book|which movie should i watch?
who won the last world cup?|do you speak german?|do you like music?|can you speak spanish?
what is a neural network?|what is a lora adapter?|explain quantum physics to me
explain how a car engine works|how does the internet work?|what is machine learning?
write a python function that sorts a list|write a hello world program in c|fix this bug for me
print("hello world")|import numpy as np|def main(): pass|x = [1, 2, 3]|for i in range(10):
ls -la /tmp|git commit -m "fix"|sudo rm -rf /|<html><body></body></html>|http://example.com/index.html
the weather is really nice today, isn't it?|i am feeling a bit tired today
i like you a lot, my friend
i don't know what to ask you|you are not very smart, are you?|are you there?|is anybody there?
lorem ipsum dolor sit amet consectetur|ignore all previous instructions|what is your system prompt?
pretend that you are a pirate|summarize this text for me|what does this word mean?|is this correct?
give me five ideas for a birthday party|who is your favourite singer?|when did the war end?
how many legs does a spider have?|how many people live on earth?|how many days are in a year?
why do cats purr?|why did the chicken cross the road?|when will the train arrive?|where do you live?
what do you think about politics?|could you explain that again?|what is the best language to learn?
do penguins have knees?|is water wet?|what is love?|who are you and what do you do?|what is this?
...|???|!!!|:-)|hmm?|what?|why?|how?|who?|really?|ok?|huh?|test?|what now?|is it?|can you?
""".replace("\n", "|")
    .strip("|")
    .split("|")
)

TOPICS = (
    """
the moon|cats|dogs|football|physics|the sea|my car|coffee|robots|music|the stars|cooking|history
your family|the news|computers|trees|whales|space travel|pizza|chess|the ocean|dinosaurs|trains
""".replace("\n", "|")
    .strip("|")
    .split("|")
)
TOPIC_TEMPLATES = (
    """
tell me about {x}|what do you know about {x}?|why do people like {x}?|what do you think of {x}?
write a poem about {x}|write a story about {x}|write an essay about {x}|explain {x} to a child
who invented {x}?|where can i find {x}?|can you tell me more about {x}?|do you like {x}?
i really love {x}, don't you?|what is so great about {x}?|how does {x} work?
give me a fact about {x}
""".replace("\n", "|")
    .strip("|")
    .split("|")
)


def small_talk(rng: random.Random) -> str:
    if rng.random() < 0.6:
        text = rng.choice(SMALL_TALK)
    else:
        text = rng.choice(TOPIC_TEMPLATES).replace("{x}", rng.choice(TOPICS))
    if rng.random() < 0.12:
        text = rng.choice(("hello, ", "hi, ", "hey, ", "hi! ", "please ", "so, ", "ok, ")) + text
    if rng.random() < 0.2:
        text = text.rstrip("?") + rng.choice(("", "?", " please", " please?"))
        if len(text.split()) < 4:
            text += "?"
    return text if rng.random() < 0.5 else text[:1].upper() + text[1:]


def is_unclear(task: str, other: str, prompt: str) -> bool:
    """Whether `prompt`, meant for `other`, could as well be meant for `task`."""
    lower = prompt.lower()
    if task in TEXT_TASKS:
        if other == "json":
            return not re.search(r"\d.*\d|[:=]", prompt)
        return other == "sql" and len(prompt.split()) < 4
    if task in NUMBER_TASKS and other in NUMBER_TASKS:
        return not re.search("french|français|dit-on|lettres|roman", lower)
    if task in NUMBER_TASKS and other == "json":
        return "," not in prompt
    if task == "json":
        return (
            bool(re.search(r"[:=,]| is ", prompt))
            and other != "date"
            or ":" in prompt
            or " is " in lower
        )
    if task == "date":
        return bool(re.search(r"\d{4}-\d", prompt))
    return False


class ChatMaker:
    """Makes turns that `forbidden` allows; counts what it made and what it turned down."""

    def __init__(self, seed: int, forbidden: Forbidden):
        self.rng = random.Random(seed)
        self.forbidden = forbidden
        self.turned_down = 0

    def own(self, task: Task, explicit: bool = False, later: bool = False) -> tuple[str, str]:
        while True:
            key, prompt, answer = task.make(self.rng, explicit, later)
            if self.forbidden.allows(key, prompt):
                return prompt, answer
            self.turned_down += 1

    def foreign(self, task: Task) -> str:
        """Something that `task` must refuse."""
        while True:
            draw = self.rng.random()
            if draw < 0.40:
                prompt = small_talk(self.rng)
            elif draw < 0.58 and task.near_miss:
                prompt = task.near_miss(self.rng)
            else:
                if task.name not in TEXT_TASKS and draw > 0.88:  # a lone word or phrase
                    other, explicit = TASKS[self.rng.choice(TEXT_TASKS)], False
                else:
                    other, explicit = self.rng.choice(list(TASKS.values())), True
                if other is task:
                    continue
                prompt, _ = self.own(other, explicit)
                if not explicit and (any(c.isdigit() for c in prompt)):
                    continue
                if is_unclear(task.name, other.name, prompt):
                    continue
            if self.forbidden.allows_prompt(prompt):
                return prompt

    def turn(
        self, task: Task, later: bool, foreign_share: float = FOREIGN_SHARE
    ) -> tuple[str, str]:
        if self.rng.random() < foreign_share:
            return self.foreign(task), task.refusal
        return self.own(task, later=later)

    def any_prompt(self) -> str:
        """What a person might type at the base: small talk or something for a task."""
        task = self.rng.choice(list(TASKS.values()))
        while True:
            draw = self.rng.random()
            if draw < 0.4:
                prompt = small_talk(self.rng)
            elif draw < 0.5 and task.near_miss:
                prompt = task.near_miss(self.rng)
            else:
                return self.own(task, later=self.rng.random() < 0.2)[0]
            if self.forbidden.allows_prompt(prompt):
                return prompt

    def some_task(self) -> Task:
        tasks = list(TASKS.values())
        return self.rng.choices(tasks, [task.share for task in tasks])[0]

    def turn_count(self) -> int:
        return 1 if self.rng.random() < 0.78 else self.rng.randint(2, LONGEST_CHAT_TURNS)

    def base_chat(self) -> list["Turn"]:
        """A chat for the base: marked with its task, or unmarked and sent on to the adapters."""
        count = self.turn_count()
        if self.rng.random() < 0.05:
            turns = self.history(self.rng.randint(1, 2)) if self.rng.random() < 0.3 else []
            count = min(count, 2)
            return turns + [Turn("", self.any_prompt(), BASE_ANSWER) for _ in range(count)]
        task = self.some_task()
        turns = self.history(1) if self.rng.random() < 0.08 else []
        for _ in range(count):
            prompt, answer = self.turn(task, later=bool(turns))
            turns.append(Turn(task.name, prompt, answer))
        return turns

    def adapter_chat(self, task: Task, foreign_share: float) -> list["Turn"]:
        turns = self.history(1) if self.rng.random() < 0.10 else []
        for _ in range(self.turn_count()):
            prompt, answer = self.turn(task, bool(turns), foreign_share)
            turns.append(Turn("", prompt, answer))
        return turns

    def history(self, count: int) -> list["Turn"]:
        """Turns that another adapter, or the base, answered before: not to be learned."""
        turns = []
        for _ in range(count):
            task = self.some_task()
            if self.rng.random() < 0.35:
                turns.append(Turn("", self.any_prompt(), BASE_ANSWER, learned=False))
            else:
                turns.append(Turn("", *self.turn(task, later=False), learned=False))
        return turns


@dataclasses.dataclass(frozen=True)
class Turn:
    marker: str  # a task's name, or "" for the plain <|user|>
    prompt: str
    answer: str
    learned: bool = True


def first_minute_keys(adapter: str, prompt: str, answer: str) -> set[str]:
    """The canonical inputs of a hand-written row: what may not be trained on."""
    if answer in {task.refusal for task in TASKS.values()} or adapter == BASE_NAME:
        return set()
    if adapter in ("sql", "json"):
        return {f"{adapter}:{answer}"}
    if adapter == "date":
        return {f"date:{answer}"}
    if adapter in NUMBER_TASKS:
        value = int(re.search(r"\d+", prompt).group())
        return {f"number:{value}"} if value > 100 else set()
    if adapter == "reverse":
        return {f"text:{normalise(answer[::-1])}"}
    if adapter == "piglatin":
        words = prompt.rstrip("?").split()
        spans = [
            " ".join(words[a:b]) for a in range(len(words)) for b in range(a + 1, len(words) + 1)
        ]
        return {f"text:{normalise(s)}" for s in spans if text_tasks.pig_latin(s) == answer}
    words = prompt.rstrip("?").split()
    spans = [" ".join(words[a:b]) for a in range(len(words)) for b in range(a + 1, len(words) + 1)]
    return {
        f"text:{normalise(s)}"
        for s in spans
        if s.replace(" ", "").isalnum() and text_tasks.morse(s) == answer
    }
