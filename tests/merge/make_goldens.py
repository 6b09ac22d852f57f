#!/usr/bin/env python3
"""Makes tests/data/merge: what PEFT's add_weighted_adapter and merge_and_unload make of the oracle's models and adapters.

Needs the versions in tests/oracle/requirements.txt, and tests/data/oracle. See README.md.
"""

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging

DATA = Path(__file__).parents[1] / "data"
ORACLE = DATA / "oracle"
BASE = "llama-default"
STORED_LAYER = "model.layers.1."  # factors and weights of this one alone: the goldens stay small


@dataclass
class Case:
    """A combination of adapters of BASE: name -> weight, and add_weighted_adapter's arguments."""

    name: str
    adapters: dict[str, float]
    method: str
    options: dict = field(default_factory=dict)
    # For PEFT the first adapter's exclude_modules hold for the combination, which drops what only the others have. Lorry
    # keeps every module that any adapter has, and so does PEFT when the excluded ones are those that nobody has.
    exclude_modules: str | None = None


EXCLUDED = r"model\.layers\.0\.mlp\.up_proj"  # neither exclude-names nor exclude-regex has it
PAIR = {"exclude-names": 1.0, "exclude-regex": 0.8}

CASES = [
    Case("one", {"mixed-ranks": 0.5}, "linear"),
    Case("linear", {"full-r8": 1.0, "family-default": 0.5, "layers-one": -0.75}, "linear"),
    Case("cat", {"full-r8": 0.7, "rslora": -0.4}, "cat"),
    Case("svd", {"full-r8": 0.7, "mixed-ranks": 0.5, "rslora": -0.4}, "svd"),
    Case("svd-4", {"full-r8": 0.7, "mixed-ranks": 0.5, "rslora": -0.4}, "svd", {"svd_rank": 4}),
    Case("ties", PAIR, "ties", {"density": 0.4}, EXCLUDED),
    # bf16 values are often equal in magnitude, and which of equals torch.topk keeps is its own affair: nothing is pruned here.
    Case(
        "ties-frequency",
        {"exclude-names": 1.0, "exclude-regex": -0.8, "all-linear": 0.6},
        "ties",
        {"density": 1.0, "majority_sign_method": "frequency"},
        "^$",
    ),
    Case("magnitude-prune", {"exclude-names": 1.2, "exclude-regex": -0.5}, "magnitude_prune", {"density": 0.3}, EXCLUDED),
    Case("dare-linear", PAIR, "dare_linear", {"density": 0.5}, EXCLUDED),
    Case("dare-ties", {"exclude-names": 1.0, "exclude-regex": -0.7}, "dare_ties", {"density": 0.6}, EXCLUDED),
]

# merge_and_unload of models that are stored in two bytes: model -> adapters.
MERGED = {"llama-linear-rope": ["full-r8", "mixed-ranks"], "llama-llama3-rope": ["full-r8"]}


class MaskRecorder:
    """Keeps what torch.bernoulli drew, which is what DARE keeps of a matrix."""

    def __init__(self):
        self.drawn: list[torch.Tensor] = []
        self.original = torch.bernoulli

    def __enter__(self):
        def bernoulli(probabilities):
            self.drawn.append(self.original(probabilities))
            return self.drawn[-1]

        torch.bernoulli = bernoulli
        return self

    def __exit__(self, *_):
        torch.bernoulli = self.original


def load(model: str, dtype: torch.dtype):
    return AutoModelForCausalLM.from_pretrained(ORACLE / model, dtype=dtype, attn_implementation="eager").eval()


def with_adapters(names: list[str]) -> PeftModel:
    base = load(BASE, torch.float32)
    model = PeftModel.from_pretrained(base, ORACLE / BASE / "adapters" / names[0], adapter_name=names[0])
    for name in names[1:]:
        model.load_adapter(ORACLE / BASE / "adapters" / name, adapter_name=name)
    return model.eval()


def lora_modules(model: PeftModel, adapter: str) -> dict[str, LoraLayer]:
    prefix = "base_model.model."
    return {
        name.removeprefix(prefix): module
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer) and adapter in module.lora_A
    }


def run_case(case: Case, prompt: list[int], tensors: dict[str, torch.Tensor]) -> dict:
    names = list(case.adapters)
    model = with_adapters(names)
    if case.exclude_modules:
        model.peft_config[names[0]].exclude_modules = case.exclude_modules
    with MaskRecorder() as masks:
        model.add_weighted_adapter(names, list(case.adapters.values()), "combined", case.method, **case.options)
    model.set_adapter("combined")
    combined = lora_modules(model, "combined")
    stored = {name: module for name, module in combined.items() if name.startswith(STORED_LAYER)}
    if case.method in ("cat", "svd"):
        stored = {name: module for name, module in stored.items() if name.split(".")[-1] in ("q_proj", "k_proj", "down_proj")}
    for name, module in stored.items():
        assert module.scaling["combined"] == 1
        tensors[f"{case.name}/{name}.A"] = module.lora_A["combined"].weight.detach().clone()
        tensors[f"{case.name}/{name}.B"] = module.lora_B["combined"].weight.detach().clone()
    if masks.drawn:
        store_masks(case, model, masks.drawn, tensors)
    else:
        with torch.no_grad():
            tensors[f"{case.name}/logits"] = model(torch.tensor([prompt]), use_cache=False).logits[0].clone()
    adapters = [{"name": name, "weight": weight} for name, weight in case.adapters.items()]
    entry = {"name": case.name, "adapters": adapters, "method": case.method, "options": case.options}
    return entry | {"modules": sorted(stored), "num_modules": len(combined), "random": bool(masks.drawn)}


def store_masks(case: Case, model: PeftModel, drawn: list[torch.Tensor], tensors: dict[str, torch.Tensor]) -> None:
    """PEFT draws module by module, A of each adapter that has the module, then B of each."""
    drawn = iter(drawn)
    owners = {name: lora_modules(model, name) for name in case.adapters}
    for module in lora_modules(model, "combined"):
        for factor in "AB":
            for index, adapter in enumerate(case.adapters):
                if module not in owners[adapter]:
                    continue
                mask = next(drawn)
                if module.startswith(STORED_LAYER):
                    tensors[f"{case.name}/{module}.{factor}.mask{index}"] = mask.to(torch.uint8)
    assert next(drawn, None) is None


def run_merged(model_name: str, adapter: str, tensors: dict[str, torch.Tensor]) -> dict:
    dtype = {"llama-linear-rope": torch.bfloat16, "llama-llama3-rope": torch.float16}[model_name]
    base = load(model_name, dtype)
    merged = PeftModel.from_pretrained(base, ORACLE / model_name / "adapters" / adapter).merge_and_unload()
    for name, weight in merged.state_dict().items():
        if name.startswith(STORED_LAYER) and name.endswith("proj.weight"):
            tensors[f"{model_name}/{adapter}/{name}"] = weight.clone()
    return {"model": model_name, "adapter": adapter}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DATA / "merge", help="folder to write (default: tests/data/merge)")
    parser.add_argument("--seed", type=int, default=1, help="of what DARE drops (default: 1)")
    arguments = parser.parse_args()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    manifest = json.loads((ORACLE / "goldens.json").read_text())
    prompt = next(model["prompts"][0] for model in manifest["models"] if model["name"] == BASE)
    tensors: dict[str, torch.Tensor] = {}
    cases = [run_case(case, prompt, tensors) for case in CASES]
    merged = [run_merged(model, adapter, tensors) for model, adapters in MERGED.items() for adapter in adapters]
    arguments.out.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, arguments.out / "goldens.safetensors")
    lines = ",\n".join(json.dumps(case) for case in cases)
    merged_lines = ",\n".join(json.dumps(entry) for entry in merged)
    text = f'{{"base": "{BASE}",\n"prompt": {prompt},\n"cases": [{lines}],\n"merged": [{merged_lines}]}}\n'
    (arguments.out / "goldens.json").write_text(text)
    size = sum(file.stat().st_size for file in arguments.out.iterdir())
    print(f"{arguments.out}: {len(cases)} combinations, {len(merged)} merged models, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
