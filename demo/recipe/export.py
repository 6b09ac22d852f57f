"""Writes the base as a Hugging Face directory: weights, config, tokenizer, chat template."""

import json
import pathlib

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from recipe.model import ASSISTANT, END, MARKERS, MAX_POSITIONS, PAD, USER, llama_config

SPECIAL = {"<|user|>": USER, "<|assistant|>": ASSISTANT, "<|end|>": END, "<|pad|>": PAD}

# Every role comes out or is refused. Instructions stand in front of the user's next turn; the model was
# trained on turns of users and assistants only.
CHAT_TEMPLATE = """\
{%- set ns = namespace(before='', text='') -%}
{%- for message in messages -%}
{%- set role = message['role'] -%}
{%- set ns.text = '' -%}
{%- if message['content'] is string -%}
{%- set ns.text = message['content'] -%}
{%- else -%}
{%- for part in message['content'] or [] -%}
{%- set ns.text = ns.text + part['text'] -%}
{%- endfor -%}
{%- endif -%}
{%- if role in ['system', 'developer'] -%}
{%- set ns.before = ns.before + ns.text + '\\n' -%}
{%- elif role in ['user', 'tool'] -%}
{{- '<|user|>' + ns.before + ns.text -}}
{%- set ns.before = '' -%}
{%- elif role == 'assistant' -%}
{{- '<|assistant|>' + ns.text -}}
{%- for call in message['tool_calls'] or [] -%}
{%- set arguments = call['function']['arguments'] -%}
{{- call['function']['name'] + '(' + (arguments if arguments is string else arguments | tojson) + ')' -}}
{%- endfor -%}
{{- '<|end|>' -}}
{%- else -%}
{{- raise_exception('This model knows the roles system, developer, user, assistant and tool, not ' + role + '.') -}}
{%- endif -%}
{%- endfor -%}
{%- if ns.before -%}
{{- '<|user|>' + ns.before -}}
{%- endif -%}
{%- if add_generation_prompt -%}
{{- '<|assistant|>' -}}
{%- endif -%}
"""


def byte_characters() -> list[str]:
    """The printable character that stands for each byte in a byte-level vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    characters = {byte: chr(byte) for byte in printable}
    others = (byte for byte in range(256) if byte not in characters)
    characters.update({byte: chr(256 + index) for index, byte in enumerate(others)})
    return [characters[byte] for byte in range(256)]


def save_tokenizer(folder: pathlib.Path):
    """A byte is a token, there are no merges; the task markers are not in the vocabulary."""
    vocabulary = {character: byte for byte, character in enumerate(byte_characters())}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for name in SPECIAL]
    )
    assert all(tokenizer.token_to_id(name) == number for name, number in SPECIAL.items())
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|pad|>",
        model_max_length=MAX_POSITIONS, clean_up_tokenization_spaces=False,
    )  # fmt: skip
    wrapped.chat_template = CHAT_TEMPLATE
    wrapped.save_pretrained(folder)


def save_base(weights: dict[str, torch.Tensor], folder: pathlib.Path):
    """bf16. The markers' rows become the pad token's: no token id may stand in for an adapter."""
    folder.mkdir(parents=True, exist_ok=True)
    low = {name: weight.detach().bfloat16().clone() for name, weight in weights.items()}
    embedding = low["model.embed_tokens.weight"]
    embedding[min(MARKERS.values()) :] = embedding[PAD]
    save_file(low, folder / "model.safetensors", metadata={"format": "pt"})
    config = llama_config().to_diff_dict()
    config.pop("dtype", None)  # written under the name that every version of transformers reads
    config["torch_dtype"] = "bfloat16"
    (folder / "config.json").write_text(json.dumps(dict(sorted(config.items())), indent=2) + "\n")
    (folder / "generation_config.json").write_text(
        json.dumps(
            {"do_sample": False, "eos_token_id": END, "pad_token_id": PAD, "max_new_tokens": 160},
            indent=2,
        )
        + "\n"
    )
    save_tokenizer(folder)


def load_base(folder: pathlib.Path) -> dict[str, torch.Tensor]:
    return {name: w.float() for name, w in load_file(folder / "model.safetensors").items()}
