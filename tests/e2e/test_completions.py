"""POST /v1/completions through the official client."""

import openai
import pytest

PROMPT = "how many users live in Paris?"
GREEDY = {"temperature": 0, "max_tokens": 24}


def complete(client, model="sql", prompt=PROMPT, **options):
    return client.completions.create(model=model, prompt=prompt, **options)


def test_greedy_repeats(client):
    first = complete(client, **GREEDY)
    assert first.object == "text_completion"
    assert first.id.startswith("cmpl-")
    assert first.model == "sql"
    assert complete(client, **GREEDY).choices[0].text == first.choices[0].text
    assert first.usage.total_tokens == first.usage.prompt_tokens + first.usage.completion_tokens


def test_adapters_may_be_named_with_their_base(client, base):
    plain = complete(client, **GREEDY)
    full = complete(client, model=f"{base}:sql", **GREEDY)
    assert full.choices[0].text == plain.choices[0].text


def test_prompts_as_text_ids_and_lists(client, server):
    ids = server.post_json("/tokenize", {"prompt": PROMPT})["tokens"]
    lone = complete(client, **GREEDY).choices[0].text
    assert complete(client, prompt=ids, **GREEDY).choices[0].text == lone
    both = complete(client, prompt=[PROMPT, "XIV"], **GREEDY)
    assert [choice.index for choice in both.choices] == [0, 1]
    assert both.choices[0].text == lone
    assert both.usage.prompt_tokens == len(ids) + 3
    assert complete(client, prompt=[ids, ids], **GREEDY).choices[1].text == lone


def test_max_tokens_ends_by_length(client):
    answer = complete(client, max_tokens=5, extra_body={"ignore_eos": True})
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 5


def test_sixteen_tokens_unless_asked(client):
    answer = complete(client, extra_body={"ignore_eos": True})
    assert answer.usage.completion_tokens == 16


def test_seeds(client):
    def text(seed, n=1):
        answer = complete(client, model=client.models.list().data[0].id, prompt="zq", n=n, seed=seed,
                          temperature=2, max_tokens=20, extra_body={"ignore_eos": True})
        return [choice.text for choice in answer.choices]

    assert text(7) == text(7)
    assert len({text(seed)[0] for seed in range(8)}) > 1
    several = text(7, n=4)
    assert several[0] == text(7)[0]
    assert len(set(several)) > 1


def test_stop_strings_are_cut_off(client):
    free = complete(client, model="roman", prompt="5", temperature=0, max_tokens=40,
                    extra_body={"ignore_eos": True}).choices[0].text
    stop = free[6:9]
    cut = complete(client, model="roman", prompt="5", temperature=0, max_tokens=40, stop=stop,
                   extra_body={"ignore_eos": True}).choices[0]
    assert cut.text == free[:free.index(stop)]
    assert cut.finish_reason == "stop"
    assert cut.stop_reason == stop


def test_stop_ids_are_named(client):
    options = {"ignore_eos": True, "return_token_ids": True}
    free = complete(client, max_tokens=10, temperature=0, extra_body=options).choices[0]
    stop_id = free.token_ids[4]
    cut = complete(client, max_tokens=10, temperature=0,
                   extra_body=options | {"stop_token_ids": [stop_id]}).choices[0]
    assert cut.token_ids == free.token_ids[:free.token_ids.index(stop_id) + 1]
    assert cut.stop_reason == stop_id


def test_token_ids_come_back(client, server):
    answer = complete(client, extra_body={"return_token_ids": True}, **GREEDY)
    ids = server.post_json("/tokenize", {"prompt": PROMPT})["tokens"]
    assert answer.choices[0].prompt_token_ids == ids
    assert len(answer.choices[0].token_ids) == answer.usage.completion_tokens


def test_logprobs(client):
    logprobs = complete(client, logprobs=3, **GREEDY).choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.top_logprobs)
    for token, logprob, top in zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs):
        assert logprob <= 0
        assert top[token] == logprob
        assert logprob == max(top.values())  # greedy
    lengths = [len(token) for token in logprobs.tokens]
    assert logprobs.text_offset == [sum(lengths[:i]) for i in range(len(lengths))]


def test_every_id_has_a_row_and_a_place_in_the_text(client):
    for extra in ({}, {"echo": True}, {"n": 2}, {"skip_special_tokens": False}, {"stop": "a"}, {"echo": True, "max_tokens": 0}):
        own = {name: extra[name] for name in ("echo", "n", "stop", "max_tokens") if name in extra}
        body = {"return_token_ids": True, **{name: value for name, value in extra.items() if name not in own}}
        answer = complete(client, logprobs=1, extra_body=body, **(GREEDY | {"max_tokens": 40} | own))
        for choice in answer.choices:
            rows = choice.logprobs
            prompt = choice.prompt_token_ids if "echo" in extra else []
            assert len(rows.tokens) == len(rows.text_offset) == len(prompt) + len(choice.token_ids)
            for token, offset in zip(rows.tokens, rows.text_offset):
                assert offset <= len(choice.text)
                shown = not token.startswith("<|") or token in choice.text
                assert not shown or "stop" in extra or choice.text[offset : offset + len(token)] == token


def test_another_servers_field_chooses_the_adapter(client):
    ask = {"model": "lorry-demo", "prompt": "<|user|>42<|assistant|>", "max_tokens": 20, "temperature": 0}
    for fields in ({"lora_request": {"lora_name": "french"}}, {"parameters": {"adapter_id": "french"}}, {"lora_path": "french"}):
        assert client.completions.create(**ask, extra_body=fields).choices[0].text == "quarante-deux"
    for fields, says in (({"lora": [{"id": 0, "scale": 1.0}]}, "not supported"), ({"lora_path": "french", "adapter_id": "sql"}, "exclude each other")):
        with pytest.raises(openai.BadRequestError, match=says):
            client.completions.create(**ask, extra_body=fields)
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.completions.create(**ask, extra_body={"lora_request": {"lora_name": "klingon"}})


def test_a_special_token_may_stop(client):
    ask = {"model": "french", "prompt": "<|user|>42<|assistant|>", "max_tokens": 30, "temperature": 0}
    choice = client.completions.create(**ask, stop="deux<|end|>").choices[0]
    assert (choice.text, choice.finish_reason, choice.stop_reason) == ("quarante-", "stop", "deux<|end|>")
    choice = client.completions.create(**ask, stop="<|end|>", extra_body={"ignore_eos": True}).choices[0]
    assert (choice.text, choice.finish_reason, choice.stop_reason) == ("quarante-deux", "stop", "<|end|>")


def test_a_scored_text_has_the_logprobs_it_was_drawn_with(client):
    # By token ids: the end of text that an answer may contain has no text of its own.
    extra = {"ignore_eos": True, "return_token_ids": True}
    drawn = complete(client, logprobs=0, extra_body=extra, **GREEDY).choices[0]
    ids = drawn.prompt_token_ids + drawn.token_ids
    scored = complete(client, prompt=ids, echo=True, max_tokens=0, logprobs=0).choices[0]
    assert scored.text == PROMPT + drawn.text
    assert scored.logprobs.token_logprobs[0] is None
    assert scored.logprobs.token_logprobs[-len(drawn.token_ids):] == drawn.logprobs.token_logprobs


def test_echo(client):
    plain = complete(client, **GREEDY).choices[0].text
    assert complete(client, echo=True, **GREEDY).choices[0].text == PROMPT + plain


def test_logit_bias_forces_a_token(client):
    answer = complete(client, logit_bias={"65": 100}, max_tokens=4, temperature=0)
    assert answer.choices[0].text == "AAAA"


def test_min_tokens_holds_the_end_back(client, server):
    end = server.post_json("/tokenize", {"prompt": "<|end|>"})["tokens"]
    answer = complete(client, max_tokens=30, temperature=0, logit_bias={str(end[0]): 100},
                      extra_body={"min_tokens": 12})
    assert answer.usage.completion_tokens == 13  # and then the end of sequence at once
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("options", [
    {"temperature": 0.7, "top_p": 0.5},
    {"extra_body": {"top_k": 3, "min_p": 0.1}},
    {"presence_penalty": 1.5, "frequency_penalty": -1.5},
    {"extra_body": {"repetition_penalty": 1.3}},
])
def test_sampling_options_are_taken(client, options):
    first = complete(client, seed=3, max_tokens=12, **options).choices[0].text
    assert complete(client, seed=3, max_tokens=12, **options).choices[0].text == first


def test_a_stream_says_the_same(client):
    whole = complete(client, n=2, seed=5, max_tokens=30, temperature=1, logprobs=2)
    texts, logprobs, reasons, usage = ["", ""], [[], []], [None, None], None
    stream = complete(client, n=2, seed=5, max_tokens=30, temperature=1, logprobs=2, stream=True,
                      stream_options={"include_usage": True})
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            logprobs[choice.index] += choice.logprobs.token_logprobs
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    assert texts == [choice.text for choice in whole.choices]
    assert logprobs == [choice.logprobs.token_logprobs for choice in whole.choices]
    assert reasons == [choice.finish_reason for choice in whole.choices]
    assert usage == whole.usage
