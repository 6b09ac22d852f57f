#!/usr/bin/env python3
"""Turns a llama2.c checkpoint (version 0) and its tokenizer into a Hugging Face directory.

Checkpoint: 7 x int32 (dim, hidden, layers, heads, kv heads, vocab, context; a negative vocab size says that the output
head is not tied), then f32 tensors grouped by kind. Rotary pairs are neighbours (2i, 2i+1) there and half a head apart
(i, i + d/2) here, so the rows of q and k are permuted.

Tokenizer: int32 longest token, then per token f32 score, int32 length, bytes. It merges the pair whose result has the
best score, which is what byte-pair merging does with the merges in the order of the scores.
"""

import argparse
import json
import struct
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

SPACE = "\u2581"  # sentencepiece's mark for a space
FIRST_BYTE_TOKEN = 3  # after <unk>, <s>, </s> come 256 byte tokens


def read_checkpoint(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    data = path.read_bytes()
    dim, hidden, layers, heads, kv_heads, vocab, context = struct.unpack("<7i", data[:28])
    tied, vocab = vocab > 0, abs(vocab)
    head_dim = dim // heads
    values, offset = np.frombuffer(data, "<f4", offset=28), 0

    def take(*shape: int) -> np.ndarray:
        nonlocal offset
        size = int(np.prod(shape))
        offset += size
        return values[offset - size : offset].reshape(shape)

    def unpermute(weight: np.ndarray, num_heads: int) -> np.ndarray:
        """[heads * (pairs, 2), dim] -> [heads * (2, pairs), dim]"""
        return weight.reshape(num_heads, head_dim // 2, 2, dim).swapaxes(1, 2).reshape(-1, dim)

    embedding = take(vocab, dim)
    attention_norm = take(layers, dim)
    q, k, v = take(layers, dim, dim), take(layers, kv_heads * head_dim, dim), take(layers, kv_heads * head_dim, dim)
    o, mlp_norm = take(layers, dim, dim), take(layers, dim)
    gate, down, up = take(layers, hidden, dim), take(layers, dim, hidden), take(layers, hidden, dim)
    final_norm = take(dim)
    take(2, context, head_dim // 2)  # rotary tables, not needed
    tensors = {"model.embed_tokens.weight": embedding, "model.norm.weight": final_norm}
    if not tied:
        tensors["lm_head.weight"] = take(vocab, dim)
    if offset != values.size:
        raise ValueError(f"{path}: {values.size} values, the header says {offset}")
    for i in range(layers):
        layer = {
            "input_layernorm": attention_norm[i],
            "self_attn.q_proj": unpermute(q[i], heads),
            "self_attn.k_proj": unpermute(k[i], kv_heads),
            "self_attn.v_proj": v[i],
            "self_attn.o_proj": o[i],
            "post_attention_layernorm": mlp_norm[i],
            "mlp.gate_proj": gate[i],
            "mlp.up_proj": up[i],
            "mlp.down_proj": down[i],
        }
        tensors.update({f"model.layers.{i}.{name}.weight": weight for name, weight in layer.items()})
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": dim,
        "intermediate_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocab,
        "max_position_embeddings": context,
        "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "tie_word_embeddings": tied,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "float32",
    }
    return config, {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def read_tokens(path: Path) -> list[tuple[str, float]]:
    data, offset, tokens = path.read_bytes(), 4, []
    while offset < len(data):
        score, length = struct.unpack_from("<fi", data, offset)
        offset += 8 + length
        tokens.append((data[offset - length : offset].decode().replace(" ", SPACE), score))
    tokens[0:3] = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)]  # written there with line breaks around them
    return tokens


def merges_of(tokens: list[tuple[str, float]]) -> list[list[str]]:
    """Every way to put a token together from two others, best score first."""
    known = {text for text, _ in tokens[FIRST_BYTE_TOKEN + 256 :]}
    merges = []
    for text, score in tokens[FIRST_BYTE_TOKEN + 256 :]:
        for cut in range(1, len(text)):
            if text[:cut] in known and text[cut:] in known:
                merges.append((-score, len(merges), [text[:cut], text[cut:]]))
    return [pair for _, _, pair in sorted(merges)]


def tokenizer_json(tokens: list[tuple[str, float]]) -> dict:
    special = [
        {"id": i, "content": tokens[i][0], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for i in range(3)
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": SPACE},
                {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [
                {"SpecialToken": {"id": "<s>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "<s>", "type_id": 1}},
                {"Sequence": {"id": "B", "type_id": 1}},
            ],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {text: i for i, (text, _) in enumerate(tokens)},
            "merges": merges_of(tokens),
        },
    }


TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "add_bos_token": True,
    "add_eos_token": False,
    "clean_up_tokenization_spaces": False,
}


def verify(directory: Path, expected_path: Path) -> None:
    """Greedy text from the start of a text must be the one in the block after "temperature 0.0" of the .md file."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    lines = expected_path.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if "-t 0.0" in line) + 1
    expected = "\n".join(lines[start : lines.index("```", start)])
    model, tokenizer = AutoModelForCausalLM.from_pretrained(directory), AutoTokenizer.from_pretrained(directory)
    ids = tokenizer("", return_tensors="pt").input_ids
    with torch.no_grad():
        room = model.config.max_position_embeddings - ids.shape[1]
        generated = model.generate(ids, do_sample=False, max_new_tokens=room, eos_token_id=None, pad_token_id=0)[0]
    text = tokenizer.decode(generated, skip_special_tokens=True)
    if not text.startswith(expected):
        raise SystemExit(f"greedy text differs:\n{text}\nexpected:\n{expected}")
    again = tokenizer(expected).input_ids
    if tokenizer.decode(again, skip_special_tokens=True) != expected or again != generated[: len(again)].tolist():
        raise SystemExit("the tokenizer does not give the model's own tokens back")
    (directory / "expected_greedy.json").write_text(json.dumps({"prompt_ids": ids[0].tolist(), "ids": again[1:], "text": expected}) + "\n")
    print(f"greedy text of {len(again) - 1} tokens as expected")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="the .bin file of the model")
    parser.add_argument("tokenizer", type=Path, help="the .bin file of the tokenizer")
    parser.add_argument("out", type=Path, help="the directory to write")
    parser.add_argument("--verify", type=Path, metavar="MD", help="description that holds the expected greedy text")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    config, tensors = read_checkpoint(arguments.checkpoint)
    save_file(tensors, arguments.out / "model.safetensors", metadata={"format": "pt"})
    for name, value in {
        "config.json": config,
        "tokenizer.json": tokenizer_json(read_tokens(arguments.tokenizer)),
        "tokenizer_config.json": TOKENIZER_CONFIG,
    }.items():
        (arguments.out / name).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
    if arguments.verify:
        verify(arguments.out, arguments.verify)


if __name__ == "__main__":
    main()
