"""Adapters of every form that the engine applies, as PEFT saves them, with random matrices that are not zero."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer

from tiny_models import seeded, write_json

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass
class TinyAdapter:
    name: str
    config: dict
    dtype: torch.dtype = torch.float32
    # Keys of adapter_config.json to write as given here: PEFT resolves "all-linear" and null before it saves.
    overwrite: dict = field(default_factory=dict)
    vocab: int | None = None  # the base's vocabulary is resized to this before the adapter is attached
    prompt_tokens: tuple[int, ...] = ()  # put into the prompts, so that they meet what the adapter changes


ADAPTERS = [
    TinyAdapter("full-r8", dict(r=8, lora_alpha=16, target_modules=ALL), torch.float16),
    TinyAdapter("q-only-r1", dict(r=1, lora_alpha=2, target_modules=["q_proj"])),
    TinyAdapter("r64", dict(r=64, lora_alpha=32, target_modules=["o_proj"]), torch.bfloat16),
    TinyAdapter(
        "mixed-ranks",
        dict(
            r=3,
            lora_alpha=6,
            target_modules=ALL,
            # The first key that matches wins, and PEFT sorts the keys when it saves: k_proj of layer 1 has rank 2.
            rank_pattern={
                r"1\.self_attn\.k_proj": 2,
                r"^model\.layers\.0\..*\.v_proj": 1,
                "k_proj": 5,
                "mlp.down_proj": 17,
            },
        ),
        torch.bfloat16,
    ),
    TinyAdapter(
        "alpha-pattern",
        dict(r=4, lora_alpha=4, target_modules=["q_proj", "v_proj", "up_proj"], alpha_pattern={"q_proj": 20, "1.mlp.up_proj": 1}),
        torch.float16,
    ),
    TinyAdapter(
        "rslora",
        dict(r=17, lora_alpha=12, use_rslora=True, target_modules=["k_proj", "down_proj"], rank_pattern={"k_proj": 3}),
        torch.bfloat16,
    ),
    TinyAdapter(
        "layers-list",
        dict(r=8, lora_alpha=8, target_modules=["q_proj", "gate_proj"], layers_to_transform=[0, 2], layers_pattern="layers"),
        torch.float16,
    ),
    TinyAdapter("layers-one", dict(r=8, lora_alpha=8, target_modules=["v_proj", "o_proj"], layers_to_transform=1)),
    TinyAdapter(
        "exclude-names",
        dict(r=2, lora_alpha=4, target_modules=ALL, exclude_modules=["v_proj", "model.layers.1.mlp.down_proj", "0.mlp.up_proj"]),
    ),
    TinyAdapter("exclude-regex", dict(r=2, lora_alpha=4, target_modules=ALL, exclude_modules=r".*\.(0|2)\.mlp\..*")),
    TinyAdapter("regex", dict(r=6, lora_alpha=9, target_modules=r".*\.[12]\.(self_attn\.(q|k)_proj|mlp\.up_proj)"), torch.float16),
    TinyAdapter(
        "all-linear", dict(r=2, lora_alpha=2, target_modules="all-linear"), torch.bfloat16, {"target_modules": "all-linear"}
    ),
    TinyAdapter("family-default", dict(r=8, lora_alpha=16), torch.float16, {"target_modules": None}),
    TinyAdapter(
        "exact-names",
        dict(r=5, lora_alpha=5, target_modules=["model.layers.0.self_attn.o_proj", "1.mlp.gate_proj", "self_attn.k_proj"]),
    ),
]

# What goes beyond plain LoRA on linear layers. For the models that have `forms`, whose vocabulary is 70.
FORMS = [
    TinyAdapter("dora", dict(r=3, lora_alpha=6, target_modules=ALL, use_dora=True), torch.float16),
    TinyAdapter("dora-embeddings", dict(r=2, lora_alpha=4, target_modules=["embed_tokens", "lm_head", "k_proj"], use_dora=True)),
    TinyAdapter("dora-bias-all", dict(r=2, lora_alpha=4, target_modules=["q_proj", "k_proj", "up_proj"], use_dora=True, bias="all")),
    TinyAdapter("bias-all", dict(r=2, lora_alpha=4, target_modules=["q_proj", "down_proj"], bias="all"), torch.bfloat16),
    TinyAdapter("bias-lora-only", dict(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"], bias="lora_only")),
    TinyAdapter("lora-bias", dict(r=5, lora_alpha=8, target_modules=ALL, lora_bias=True)),
    TinyAdapter("embeddings", dict(r=7, lora_alpha=14, target_modules=["embed_tokens", "lm_head", "v_proj"]), torch.float16),
    TinyAdapter("embed-only", dict(r=4, lora_alpha=8, target_modules=r".*embed_tokens|.*q_proj")),
    TinyAdapter("saved-embeddings", dict(r=2, lora_alpha=2, target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"]), torch.float16),
    TinyAdapter("saved-head", dict(r=2, lora_alpha=2, target_modules=["v_proj"], modules_to_save=["lm_head"]), torch.bfloat16),
    TinyAdapter(
        "saved-linear",
        dict(
            r=4,
            lora_alpha=4,
            target_modules=ALL,
            modules_to_save=["norm", "0.self_attn.k_proj", "0.mlp.gate_proj", "1.mlp", "1.self_attn.o_proj"],
        ),
        torch.float16,
    ),
    TinyAdapter("saved-alone", dict(target_modules="dummy-target-modules", modules_to_save=["input_layernorm", "0.self_attn"])),
    TinyAdapter(
        "tokens",
        dict(r=2, lora_alpha=4, target_modules=["q_proj", "o_proj"], trainable_token_indices=[69, 3, 40]),
        prompt_tokens=(3, 69, 40),
    ),
    TinyAdapter(
        "tokens-by-name",
        dict(r=2, lora_alpha=4, target_modules=["q_proj"], trainable_token_indices={"embed_tokens": [5, 6], "lm_head": [6, 50]}),
        prompt_tokens=(5, 6),
    ),
    TinyAdapter(
        "added-saved",
        dict(r=2, lora_alpha=4, target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"]),
        torch.float16,
        vocab=85,
        prompt_tokens=(70, 84, 71),
    ),
    TinyAdapter("added-resized", dict(r=2, lora_alpha=4, target_modules=["v_proj"]), torch.float16, vocab=73, prompt_tokens=(72, 70)),
    TinyAdapter(
        "added-trained",
        dict(r=2, lora_alpha=4, target_modules=["v_proj"], trainable_token_indices=[70, 71]),
        vocab=72,
        prompt_tokens=(70, 71),
    ),
    TinyAdapter("fewer-tokens", dict(r=2, lora_alpha=4, target_modules=["embed_tokens", "q_proj"]), torch.float16, vocab=60),
    TinyAdapter(
        "tied-embeddings",
        dict(r=6, lora_alpha=9, target_modules=["embed_tokens", "v_proj"], ensure_weight_tying=True),
        torch.float16,
    ),
    TinyAdapter(
        "tied-saved", dict(r=2, lora_alpha=2, target_modules=["q_proj"], modules_to_save=["embed_tokens"], ensure_weight_tying=True)
    ),
]

# Weighted sums of adapters: PEFT's add_weighted_adapter with "cat", which adds no cross terms. The first adapter may not use
# rsLoRA: PEFT lets the sum inherit it, and scales it by the root of its rank.
COMPOSITIONS = {
    "composed-two": [("all-linear-r8", 1.0), ("embeddings-r4", 0.5)],
    "composed-three": [("embeddings-r4", -0.75), ("all-linear-r8", 0.25), ("rslora-r3", 2.0)],
    "composed-same": [("all-linear-r8", 0.5), ("all-linear-r8", 0.25)],
}
COMPOSED = [
    TinyAdapter("all-linear-r8", dict(r=8, lora_alpha=16, target_modules=ALL), torch.float16),
    TinyAdapter("embeddings-r4", dict(r=4, lora_alpha=4, target_modules=["embed_tokens", "lm_head", "up_proj"]), torch.float16),
    TinyAdapter("rslora-r3", dict(r=3, lora_alpha=3, use_rslora=True, target_modules=["q_proj", "down_proj"])),
]


def save_adapter(spec: TinyAdapter, base, directory: Path, *seed) -> None:
    """Attaches the adapter to `base`, fills it and saves it with PEFT. `base` stays changed: pass a fresh one."""
    resize(spec, base, seeded(*seed, "resize"))
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", inference_mode=True, **spec.config))
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, LoraLayer):
                fill(module, seeded(*seed, name))
        for name, parameter in model.named_parameters():
            perturb(spec, name, parameter, seeded(*seed, name))
    for parameter_name, parameter in model.named_parameters():
        if any(part in parameter_name for part in ("lora_", "modules_to_save", "trainable_tokens_delta")):
            parameter.data = parameter.data.to(spec.dtype)
    # PEFT finds out by itself where it can look up the base's size; here it cannot.
    model.save_pretrained(directory, **({"save_embedding_layers": True} if spec.vocab else {}))
    (directory / "README.md").unlink()
    config = json.loads((directory / "adapter_config.json").read_text())
    for key in ("target_modules", "exclude_modules"):
        if isinstance(config[key], list):
            config[key].sort()  # PEFT keeps a set: its order changes from run to run
    config.update(spec.overwrite, base_model_name_or_path=None)
    write_json(directory / "adapter_config.json", config)


def resize(spec: TinyAdapter, base, generator: torch.Generator) -> None:
    """Gives the base the vocabulary of the adapter; new rows are random, as in a training script."""
    if spec.vocab is None:
        return
    old = base.config.vocab_size
    base.resize_token_embeddings(spec.vocab, mean_resizing=False)
    with torch.no_grad():
        for rows in {base.get_input_embeddings().weight, base.get_output_embeddings().weight}:
            rows[old:] = 0.3 * torch.randn(rows[old:].shape, generator=generator)


def fill(module: LoraLayer, generator: torch.Generator) -> None:
    """An adapter that changes the output of its layer by about half of its size."""
    if "default" not in module.r:
        return
    rank, scaling = module.r["default"], module.scaling["default"]
    if "default" in module.lora_embedding_A:
        a, b = module.lora_embedding_A["default"], module.lora_embedding_B["default"]
        a.copy_(torch.randn(a.shape, generator=generator))
        b.copy_(torch.randn(b.shape, generator=generator) * 0.15 / (scaling * rank**0.5))
        return
    a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
    a.copy_(torch.randn(a.shape, generator=generator) * a.shape[1] ** -0.5)
    b.copy_(torch.randn(b.shape, generator=generator) * 0.5 / (scaling * rank**0.5))


def perturb(spec: TinyAdapter, name: str, parameter, generator: torch.Generator) -> None:
    """What is not LoRA's two matrices: half of it noise, so that leaving it out would show."""
    noise = torch.randn(parameter.shape, generator=generator)
    if "lora_magnitude_vector" in name:
        parameter.mul_(1 + 0.25 * noise)
    elif "trainable_tokens_delta" in name:
        parameter.copy_(0.3 * noise)
    elif ".lora_B." in name and name.endswith(".bias"):
        parameter.copy_(0.2 * noise)
    elif ".modules_to_save." in name:
        parameter.add_(0.5 * noise * (parameter.std() if parameter.dim() > 1 else 0.3))
    elif name.endswith(".bias") and "original_module" not in name:
        trained = {"all": True, "lora_only": ".base_layer." in name}.get(spec.config.get("bias", "none"), False)
        if trained:
            parameter.add_(0.3 * noise)
