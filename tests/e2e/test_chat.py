"""POST /v1/chat/completions through the official client."""

import pytest

from conftest import ADAPTERS

GREEDY = {"temperature": 0, "max_tokens": 160}


def ask(client, model, content, **options):
    messages = content if isinstance(content, list) else [{"role": "user", "content": content}]
    return client.chat.completions.create(model=model, messages=messages, **options)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_each_adapter_answers(client, questions, adapter):
    answer = ask(client, adapter, questions[adapter], **GREEDY)
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == adapter
    choice = answer.choices[0]
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason == "stop"
    assert "<|end|>" not in choice.message.content


def test_adapters_and_the_base_differ(client, base, questions):
    answers = {ask(client, model, questions["sql"], **GREEDY).choices[0].message.content
               for model in [base, *ADAPTERS]}
    assert len(answers) > 2


def test_stream(client, questions):
    whole = ask(client, "sql", questions["sql"], **GREEDY)
    chunks = list(ask(client, "sql", questions["sql"], stream=True,
                      stream_options={"include_usage": True}, **GREEDY))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[0].object == "chat.completion.chunk"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1


def test_no_usage_unless_asked(client, questions):
    chunks = list(ask(client, "sql", questions["sql"], stream=True, **GREEDY))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


def test_logprobs(client, questions):
    choice = ask(client, "roman", questions["roman"], logprobs=True, top_logprobs=2, **GREEDY).choices[0]
    content = choice.logprobs.content
    # One row for each token that was generated, the end token's too, which the text does not show.
    assert content[-1].token == "<|end|>"
    assert b"".join(bytes(entry.bytes) for entry in content[:-1]).decode() == choice.message.content
    for entry in content:
        assert len(entry.top_logprobs) == 2
        assert entry.top_logprobs[0].logprob == entry.logprob  # greedy
        assert entry.top_logprobs[0].bytes == entry.bytes


def test_n_and_seed(client, base):
    def texts():
        # The penalties take the sure choices away, so that a well-trained model has to draw.
        answer = ask(client, base, "zq", n=3, seed=11, temperature=2, max_tokens=60,
                     frequency_penalty=2, presence_penalty=2, extra_body={"ignore_eos": True})
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
        assert answer.usage.completion_tokens == 180
        return [choice.message.content for choice in answer.choices]

    first = texts()
    assert len(set(first)) > 1
    assert texts() == first


def test_contents_may_be_lists_of_text_parts(client, questions):
    parts = [{"role": "user", "content": [{"type": "text", "text": questions["date"]}]}]
    assert (ask(client, "date", parts, **GREEDY).choices[0].message.content
            == ask(client, "date", questions["date"], **GREEDY).choices[0].message.content)


def test_without_max_tokens_the_answer_ends_by_itself(client, questions):
    answer = ask(client, "sql", questions["sql"], temperature=0)
    assert answer.choices[0].finish_reason == "stop"


def test_the_final_message_may_be_continued(client, server, questions):
    whole = ask(client, "sql", questions["sql"], **GREEDY).choices[0].message.content
    messages = [{"role": "user", "content": questions["sql"]},
                {"role": "assistant", "content": whole[:9]}]
    rest = ask(client, "sql", messages, extra_body={"continue_final_message": True}, **GREEDY)
    assert whole[:9] + rest.choices[0].message.content == whole


def test_a_second_question_in_the_same_chat(client, questions):
    first = ask(client, "roman", questions["roman"], **GREEDY)
    messages = [{"role": "user", "content": questions["roman"]},
                {"role": "assistant", "content": first.choices[0].message.content},
                {"role": "user", "content": questions["roman"]}]
    second = ask(client, "roman", messages, **GREEDY)
    assert second.choices[0].message.content
    assert second.usage.prompt_tokens > first.usage.prompt_tokens


def test_unknown_fields_are_ignored(client, questions):
    answer = ask(client, "sql", questions["sql"], user="me", store=False, metadata={"a": "b"},
                 extra_body={"some_vendor_field": 1}, **GREEDY)
    assert answer.choices[0].message.content
