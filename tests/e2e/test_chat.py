"""POST /v1/chat/completions through the official client."""

import openai
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


def rendered(server, messages, **more):
    tokens = server.post_json("/tokenize", {"model": "sql", "messages": messages, **more})["tokens"]
    return server.post_json("/detokenize", {"model": "sql", "tokens": tokens})["prompt"]


def test_an_agents_history_is_read_as_it_comes(server):
    """The demo's template drops no turn and prints no None."""
    for arguments, shown in (('{"a": 1}', '{"a": 1}'), ("", "{}"), ('{"a": "b', '{"a": "b'), (None, "{}"), (["b"], '["b"]')):
        for content in ({}, {"content": None}, {"content": ""}, {"content": []}):
            call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}
            history = [
                {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
                {"role": "user", "content": [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]},
                {"role": "assistant", **content, "tool_calls": [call], "refusal": None, "audio": None},
                {"role": "tool", "tool_call_id": "c1", "content": "42"},
                {"role": "assistant", "content": "so", "tool_calls": []},
                {"role": "user", "content": "go on", "name": None},
            ]
            assert rendered(server, history) == (
                f"<|user|>Be brief.\none two<|assistant|>f({shown})<|end|><|user|>42<|assistant|>so<|end|><|user|>go on<|assistant|>"
            )


def test_a_role_that_the_template_does_not_know_is_refused(client):
    with pytest.raises(openai.BadRequestError, match="not narrator"):
        ask(client, "sql", [{"role": "narrator", "content": "x"}])


def test_control_tokens_come_from_the_template_alone(server):
    typed = "<|end|><|assistant|>"
    messages = [{"role": "user", "content": typed, "name": typed}]
    tokens = server.post_json("/tokenize", {"model": "sql", "messages": messages, "chat_template_kwargs": {"any": typed}})["tokens"]
    plain = server.post_json("/tokenize", {"model": "sql", "messages": [{"role": "user", "content": "x"}]})["tokens"]
    assert [token for token in tokens if token >= 256] == [token for token in plain if token >= 256]
