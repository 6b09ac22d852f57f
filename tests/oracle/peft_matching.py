"""Which modules PEFT adapts under many configs, with which rank and scaling: the oracle of peft_match."""

import random
import warnings

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer

from tiny_models import FAMILIES

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LAYER_COUNTS = (2, 3, 12)  # 12: two-digit indices, which suffixes and patterns may confuse

# Written by hand: the corners of PEFT's rules.
CORNERS = [
    {"target_modules": None},
    {"target_modules": "all-linear"},
    {"target_modules": "ALL-Linear"},
    {"target_modules": "all-linear", "exclude_modules": ["q_proj"]},
    {"target_modules": ALL},
    {"target_modules": ["self_attn.q_proj"]},
    {"target_modules": ["proj"]},  # no dotted suffix: nothing
    {"target_modules": []},
    {"target_modules": ["1.self_attn.q_proj"]},  # layers 1, not 11
    {"target_modules": ["model.layers.1.self_attn.q_proj"]},
    {"target_modules": ["lm_head"]},
    {"target_modules": ["q_proj", "embed_tokens"]},
    {"target_modules": ["self_attn"]},  # a container
    {"target_modules": "norm"},
    {"target_modules": r".*"},
    {"target_modules": "q_proj"},  # as an expression it must match the whole name: nothing
    {"target_modules": r".*q_proj"},
    {"target_modules": r".*\.(q|v)_proj"},
    {"target_modules": r"model\.layers\.\d\..*_proj"},
    {"target_modules": r"model\.layers\.([0-1])\.self_attn\.[qk]_proj|.*\.2\.mlp\.up_proj"},
    {"target_modules": r"(?i).*Q_PROJ"},
    {"target_modules": r"^model\.layers\.1\.mlp\.\w+_proj$"},
    {"target_modules": ALL, "exclude_modules": ALL},
    {"target_modules": ALL, "exclude_modules": ["layers"]},
    {"target_modules": ALL, "exclude_modules": ["0.self_attn.q_proj", "down_proj"]},
    {"target_modules": ALL, "exclude_modules": r".*\.1\..*"},
    {"target_modules": ALL, "exclude_modules": r"q_proj"},  # must match the whole name: excludes nothing
    {"target_modules": r".*_proj", "exclude_modules": r".*mlp.*"},
    {"target_modules": ALL, "layers_to_transform": 1},
    {"target_modules": ALL, "layers_to_transform": 0},
    {"target_modules": ALL, "layers_to_transform": []},
    {"target_modules": ALL, "layers_to_transform": [0, 11]},
    {"target_modules": ALL, "layers_to_transform": [99]},
    {"target_modules": ALL, "layers_to_transform": [-1]},
    {"target_modules": ALL, "layers_to_transform": [1], "layers_pattern": "layers"},
    {"target_modules": ALL, "layers_to_transform": [1], "layers_pattern": ["h", "layers"]},
    {"target_modules": ALL, "layers_to_transform": [1], "layers_pattern": "h"},
    {"target_modules": ALL, "layers_to_transform": [1], "layers_pattern": []},
    {"target_modules": ALL, "layers_to_transform": [1], "layers_pattern": ""},
    {"target_modules": ALL, "layers_to_transform": [1], "layers_pattern": "lay.*"},
    {"target_modules": ALL, "layers_to_transform": [1], "layers_pattern": "model.layers"},
    {"target_modules": ALL, "layers_pattern": "layers"},  # without layers_to_transform: an error
    {"target_modules": ".*q_proj", "layers_to_transform": [1]},  # an error
    {"target_modules": "all-linear", "layers_to_transform": [1]},  # an error
    # A full name is taken whatever the layers say…
    {"target_modules": ["model.layers.0.self_attn.q_proj", "v_proj"], "layers_to_transform": [1]},
    # …unless there are 20 names and PEFT first shortens them to the suffixes that tell them from the others.
    {"target_modules": [f"model.layers.{i}.mlp.{p}" for i in range(12) for p in ALL[4:6]], "layers_to_transform": [1]},
    {"target_modules": [f"model.layers.{i}.mlp.up_proj" for i in range(11)] + [f"x{i}" for i in range(9)], "layers_to_transform": [2]},
    {"target_modules": [f"model.layers.{i}.self_attn.{p}" for i in (0, 2) for p in ALL[:4]] + [f"{i}.mlp.{p}" for i in range(5) for p in ALL[4:]], "layers_to_transform": [0, 1]},
    {"target_modules": ALL, "rank_pattern": {"q_proj": 4}},
    {"target_modules": ALL, "rank_pattern": {"proj": 4}},  # a key matches from a dot on: nothing
    {"target_modules": ALL, "rank_pattern": {".*_proj": 4, "q_proj": 2}},  # the first key wins
    {"target_modules": ALL, "rank_pattern": {"q_proj": 2, ".*_proj": 4}},
    {"target_modules": ALL, "rank_pattern": {"^model.layers.1.self_attn.q_proj": 4}},
    {"target_modules": ALL, "rank_pattern": {"1.self_attn.q_proj": 4}},  # "." is any character: 1 and 11
    {"target_modules": ALL, "rank_pattern": {r"(layers\.1\.).*": 4, "layers.1": 6}},
    {"target_modules": ALL, "rank_pattern": {"k_proj|v_proj": 4}},
    {"target_modules": ALL, "rank_pattern": {"k_proj)|(v_proj": 4}},
    {"target_modules": ALL, "rank_pattern": {"q_proj": 4}, "alpha_pattern": {"q_proj": 2, "mlp.*": 32}},
    {"target_modules": ALL, "alpha_pattern": {"self_attn.o_proj": 0.5}},
    {"target_modules": ALL, "use_rslora": True, "rank_pattern": {"mlp.up_proj": 2}},
    {"target_modules": ALL, "fan_in_fan_out": True},
]


def random_config(rng: random.Random) -> dict:
    """A config of the kinds that people write, combined at random."""
    names = ALL + ["self_attn.q_proj", "mlp.up_proj", "1.mlp.down_proj", "model.layers.0.self_attn.k_proj", "layers.2.self_attn.o_proj"]
    expressions = [r".*_proj", r".*self_attn.*proj", r".*\.[0-9]\.mlp\..*", r"model\.layers\.(0|2|10)\..*_proj", r".*(q_proj|down_proj)"]
    keys = ALL + ["1.self_attn.q_proj", r"layers\.\d\.mlp\..*", "mlp.up_proj", ".*v_proj", r"^model\.layers\.1\..*", "self_attn", "0.*"]
    config = {"r": rng.choice([1, 3, 8, 17]), "lora_alpha": rng.choice([1, 8, 16, 30])}
    use_names = rng.random() < 0.75
    config["target_modules"] = rng.sample(names, rng.randint(1, 8)) if use_names else rng.choice(expressions)
    if use_names and rng.random() < 0.5:
        config["layers_to_transform"] = rng.choice([0, 1, [0], [1, 2], [0, 2, 10]])
        if rng.random() < 0.5:
            config["layers_pattern"] = rng.choice(["layers", ["layers"], ["h", "layers"], "model.layers"])
    if rng.random() < 0.4:
        config["exclude_modules"] = rng.sample(names, 2) if rng.random() < 0.5 else rng.choice(expressions)
    if rng.random() < 0.6:
        config["rank_pattern"] = {key: rng.choice([1, 2, 5, 64]) for key in rng.sample(keys, rng.randint(1, 4))}
    if rng.random() < 0.4:
        config["alpha_pattern"] = {key: rng.choice([1, 7, 128]) for key in rng.sample(keys, rng.randint(1, 3))}
    config["use_rslora"] = rng.random() < 0.3
    return config


def base_model(family: str, num_layers: int):
    config_class, model_class = FAMILIES[family]
    sizes = dict(hidden_size=64, intermediate_size=128, vocab_size=32, num_attention_heads=4, num_key_value_heads=2)
    with torch.device("meta"):
        return model_class(config_class(num_hidden_layers=num_layers, **sizes))


def what_peft_does(family: str, num_layers: int, config: dict) -> dict:
    """{"modules": {index into the names: [rank, scaling]}}, or {"error": why}."""
    model = base_model(family, num_layers)
    index = {name: i for i, name in enumerate(module_names(model))}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **config))
    except (ValueError, TypeError) as error:  # PEFT's refusals
        return {"error": str(error).split("{")[0].splitlines()[0][:80]}  # what follows "{" is a set: its order changes
    modules = {}
    for name, module in adapted.base_model.model.named_modules():
        if isinstance(module, LoraLayer):
            modules[str(index[name])] = [module.r["default"], module.scaling["default"]]
    return {"modules": modules}


def module_names(model) -> list[str]:
    return [name for name, _ in model.named_modules() if name]


def matching_cases(seed: int) -> dict:
    rng = random.Random(seed)
    models = [(family, num_layers) for family in FAMILIES for num_layers in LAYER_COUNTS]
    configs = [(model, dict({"r": 8, "lora_alpha": 16}, **corner)) for corner in CORNERS for model in models[1:3]]
    configs += [(rng.choice(models), random_config(rng)) for _ in range(150)]
    cases = []
    for (family, num_layers), config in configs:
        result = what_peft_does(family, num_layers, config)
        cases.append({"family": family, "num_layers": num_layers, "config": config, **result})
    return {
        "names": [{"family": f, "num_layers": n, "names": module_names(base_model(f, n))} for f, n in models],
        "cases": cases,
    }
