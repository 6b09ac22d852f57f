"""Adapters with vocabularies, tokenizers, chat templates and end tokens of their own, beside the base, against PEFT's tokens."""

import concurrent.futures
import json
import math
import shutil

import pytest

from running_server import ROOT, RunningServer, eventually

ORACLE = ROOT / "tests/data/oracle"
MODEL = "llama-forms"  # 70 tokens
ADDED = {"content": "", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
NAMES = ("added", "fewer", "trained", "copied", "broken")


def golden(case: str) -> dict:
    models = json.loads((ORACLE / "goldens.json").read_text())["models"]
    model = next(m for m in models if m["name"] == MODEL)
    found = next(c for c in model["cases"] if c["name"] == case)
    return {"prompts": model["prompts"], **found}


def write_text(directory, num_added: int = 0, config: dict | None = None, template: str | None = None):
    """A tokenizer of the words w0 to w69, and <a70> and so on."""
    added = [{**ADDED, "id": i, "content": f"<a{i}>"} for i in range(70, 70 + num_added)]
    tokenizer = {"version": "1.0", "added_tokens": added, "pre_tokenizer": {"type": "WhitespaceSplit"},
                 "model": {"type": "WordLevel", "vocab": {f"w{i}": i for i in range(70)}, "unk_token": "w0"}}
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    (directory / "tokenizer_config.json").write_text(json.dumps(config or {}))
    if template is not None:
        (directory / "chat_template.jinja").write_text(template)


def words(tokens) -> str:
    return " ".join(f"w{t}" if t < 70 else f"<a{t}>" for t in tokens)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The base without a chat template, and adapters."""
    root = tmp_path_factory.mktemp("text")
    ignore = shutil.ignore_patterns("adapters", "goldens.safetensors")
    shutil.copytree(ORACLE / MODEL, root / "base", ignore=ignore)
    for name, case in zip(NAMES, ("added-saved", "fewer-tokens", "added-trained", "tokens", "tokens")):
        shutil.copytree(ORACLE / MODEL / "adapters" / case, root / name)
    write_text(root / "base")
    write_text(root / "added", 15, {"eos_token": "<a74>"}, "{{ messages[0].content }}")
    write_text(root / "copied")
    (root / "trained/added_tokens.json").write_text(json.dumps({"<a70>": 70, "<a71>": 71}))
    (root / "broken/chat_template.jinja").write_text("{% if %}")
    return root


def serve(root):
    adapters = [argument for name in NAMES for argument in ("--adapter", f"{name}={root / name}")]
    return RunningServer(str(root / "base"), "--dtype", "float32", "--max-logprobs", "100",
                         "--adapter-cache", str(root / "cache"), *adapters)


@pytest.fixture(scope="module")
def server(files):
    with serve(files) as running:
        yield running


def post(server, path, **body):
    status, _, text = server.request("POST", path, body)
    return status, json.loads(text)


def generate(server, prompt, **more):
    body = {"prompt": prompt, "temperature": 0, "max_tokens": 16, "ignore_eos": True, "return_token_ids": True, **more}
    status, answer = post(server, "/v1/completions", **body)
    assert status == 200, answer
    return answer["choices"][0]


CASES = [("added", "added-saved"), ("fewer", "fewer-tokens"), ("trained", "added-trained"), ("base", "base")]


def test_every_vocabulary_in_the_same_steps_draws_what_peft_draws(server):
    jobs = [(name, golden(case), row) for name, case in CASES for row in (0, 1)]
    with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
        answers = list(pool.map(lambda job: generate(server, job[1]["prompts"][job[2]], model=job[0]), jobs))
    for (name, case, row), answer in zip(jobs, answers):
        assert answer["token_ids"] == case["greedy"][row], name
        assert answer["text"].split() == words(case["greedy"][row]).split(), name
    assert max(max(answer["token_ids"]) for answer in answers) == 77, "an added token was drawn"


def test_texts_go_through_the_adapters_tokenizer(server):
    for name, case in CASES:
        expected = golden(case)
        answer = generate(server, words(expected["prompts"][0]), model=name)
        assert answer["prompt_token_ids"] == expected["prompts"][0], name
        assert answer["token_ids"] == expected["greedy"][0], name


def test_logprobs_are_of_the_models_own_vocabulary(server):
    for name, case, size in [("added", "added-saved", 85), ("fewer", "fewer-tokens", 60), ("base", "base", 70)]:
        expected = golden(case)
        answer = generate(server, expected["prompts"][0], model=name, max_tokens=1, logprobs=100 if size > 100 else size)
        top = answer["logprobs"]["top_logprobs"][0]
        assert len(top) == size
        assert math.isclose(sum(math.exp(p) for p in top.values()), 1, abs_tol=1e-4)


def test_its_own_end_of_sequence_ends_it(server):
    expected = golden("added-saved")
    until = expected["greedy"][0].index(74)
    answer = generate(server, expected["prompts"][0], model="added", ignore_eos=False)
    assert answer["token_ids"] == expected["greedy"][0][: until + 1]
    assert answer["finish_reason"] == "stop"
    assert answer["text"].split() == words(expected["greedy"][0][:until]).split()


def chat(server, model, content):
    return post(server, "/v1/chat/completions", model=model, messages=[{"role": "user", "content": content}],
                temperature=0, max_tokens=9, return_token_ids=True)


def check_chat(server):
    expected = golden("added-saved")
    status, answer = chat(server, "added", words(expected["prompts"][0]))
    assert status == 200, answer
    # Nobody types a special token; these are none.
    assert answer["choices"][0]["token_ids"] == expected["greedy"][0][:9]


def test_an_adapter_may_have_a_template_where_the_base_has_none(server):
    check_chat(server)
    status, answer = chat(server, "base", "w1")
    assert (status, answer["error"]["param"]) == (400, "messages")
    assert chat(server, "copied", "w1")[0] == 400


def test_a_template_that_does_not_compile_is_refused_by_name(server):
    for _ in range(2):
        status, answer = chat(server, "broken", "w1")
        assert status == 422
        assert "`broken`" in answer["error"]["message"] and answer["error"]["param"] == "model"


def test_tokenize_and_detokenize(server):
    assert post(server, "/tokenize", model="added", prompt="w1 <a70> w2")[1]["tokens"] == [1, 70, 2]
    assert post(server, "/tokenize", model="trained", prompt="w1 <a71>")[1]["tokens"] == [1, 71]
    assert post(server, "/tokenize", prompt="w1 <a70> w2")[1]["tokens"] == [1, 0, 2]
    assert post(server, "/detokenize", model="added", tokens=[1, 84])[1]["prompt"].split() == ["w1", "<a84>"]


@pytest.mark.parametrize("model,size", [("added", 85), ("fewer", 60), ("trained", 72), ("copied", 70), ("base", 70)])
def test_ids_outside_the_models_vocabulary_are_refused_by_name(server, model, size):
    for field, body in [("prompt[1]", {"prompt": [1, size]}), ("prompt[0][1]", {"prompt": [[1, size]]}),
                        ("stop_token_ids[0]", {"prompt": [1], "stop_token_ids": [size]}),
                        ("logit_bias", {"prompt": [1], "logit_bias": {str(size): 1}})]:
        status, answer = post(server, "/v1/completions", model=model, **body)
        assert (status, answer["error"]["param"]) == (400, field)
        assert str(size - 1) in answer["error"]["message"]
    biased = generate(server, [1], model=model, max_tokens=2, logit_bias={str(size - 1): 100})
    assert biased["token_ids"] == [size - 1] * 2


def images(files):
    return list((files / "cache/images").rglob("*.image"))


def test_a_copy_of_the_bases_text_costs_nothing(files, server):
    assert (files / "copied/tokenizer.json").read_bytes() == (files / "base/tokenizer.json").read_bytes()
    assert eventually(lambda: len(images(files)) == len(NAMES))
    with_tokenizer = [path for path in images(files) if b'"<a84>"' in path.read_bytes()]
    assert len(with_tokenizer) == 1, "only one image carries that tokenizer"


def test_texts_come_back_from_the_disk_cache(files, server):
    assert eventually(lambda: len(images(files)) == len(NAMES))
    with serve(files) as again:
        check_chat(again)
        assert not any("checked and packed" in line for line in again.log), "".join(again.log)
