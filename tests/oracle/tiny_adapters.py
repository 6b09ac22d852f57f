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


def save_adapter(spec: TinyAdapter, base, directory: Path, *seed) -> None:
    """Attaches the adapter to `base`, fills it and saves it with PEFT. `base` stays changed: pass a fresh one."""
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", inference_mode=True, **spec.config))
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, LoraLayer):
                fill(module, seeded(*seed, name))
    for parameter_name, parameter in model.named_parameters():
        if "lora_" in parameter_name:
            parameter.data = parameter.data.to(spec.dtype)
    model.save_pretrained(directory)
    (directory / "README.md").unlink()
    config = json.loads((directory / "adapter_config.json").read_text())
    for key in ("target_modules", "exclude_modules"):
        if isinstance(config[key], list):
            config[key].sort()  # PEFT keeps a set: its order changes from run to run
    config.update(spec.overwrite, base_model_name_or_path=None)
    write_json(directory / "adapter_config.json", config)


def fill(module: LoraLayer, generator: torch.Generator) -> None:
    """An adapter that changes the output of its layer by about half of its size."""
    rank, scaling = module.r["default"], module.scaling["default"]
    a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
    a.copy_(torch.randn(a.shape, generator=generator) * a.shape[1] ** -0.5)
    b.copy_(torch.randn(b.shape, generator=generator) * 0.5 / (scaling * rank**0.5))
