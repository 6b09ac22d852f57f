"""Answers do not depend on who else is served: bitwise the same alone and in any mix of adapters."""

import concurrent.futures
import dataclasses
import random

from conftest import ADAPTERS, client_of
from running_server import RunningServer

NUM_REQUESTS = 64
NUM_ROUNDS = 20


@dataclasses.dataclass(frozen=True)
class Asked:
    model: str
    content: str
    seed: int | None  # None: greedy

    def answer(self, client):
        """Everything that must be the same: text, log probabilities, reason, counts."""
        options = {"temperature": 0} if self.seed is None else {"temperature": 1, "seed": self.seed}
        made = client.chat.completions.create(
            model=self.model, messages=[{"role": "user", "content": self.content}], max_tokens=40,
            logprobs=True, top_logprobs=2, extra_body={"min_tokens": 12}, **options)
        choice = made.choices[0]
        logprobs = tuple((entry.token, entry.logprob, tuple((top.token, top.logprob)
                                                            for top in entry.top_logprobs))
                         for entry in choice.logprobs.content)
        return choice.message.content, logprobs, choice.finish_reason, made.usage.completion_tokens


def requests_over(base, questions):
    models = [base, *ADAPTERS]
    contents = list(questions.values())
    return [Asked(models[i % len(models)], contents[i % 7 % len(contents)], None if i % 2 else i)
            for i in range(NUM_REQUESTS)]


def most_adapters_in_a_step(server) -> float:
    return max(value for _, value in server.samples("lorry:step_adapters_max"))


def test_mixed_batches_answer_as_lone_requests_do(base, questions):
    # A server of its own: its count of adapters in a step begins here.
    with RunningServer() as server, client_of(server) as client:
        asked = requests_over(base, questions)
        alone = {request: request.answer(client) for request in asked}
        assert most_adapters_in_a_step(server) == 1
        shuffled = random.Random(1)
        with concurrent.futures.ThreadPoolExecutor(NUM_REQUESTS) as pool:
            for round_number in range(NUM_ROUNDS):
                shuffled.shuffle(asked)
                answers = list(pool.map(lambda request: request.answer(client), asked))
                for request, answer in zip(asked, answers):
                    assert answer == alone[request], f"round {round_number}: {request}"
        assert most_adapters_in_a_step(server) >= 8
