#!/usr/bin/env python3
"""Makes tests/data/oracle: tiny models, adapters of every form, and what transformers + PEFT compute with them.

Everything depends on the seed and the versions in requirements.txt alone. See README.md.
"""

import argparse
import json
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import peft
import torch
import transformers
from peft import PeftModel
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent))
from peft_matching import matching_cases  # noqa: E402
from tiny_adapters import ADAPTERS, COMPOSED, COMPOSITIONS, FORMS, TinyAdapter, resize, save_adapter  # noqa: E402
from tiny_models import MODELS, TinyModel, load_model, rewrite_config_in_form_5, save_model, seeded, write_json  # noqa: E402

PROMPT_LENGTHS = (13, 22)
GREEDY_TOKENS = 16
# Greedy tokens are only comparable where rounding cannot decide: the best logit leads by this share of the row's largest.
MIN_LEAD = 1e-3
MAX_ATTEMPTS = 50


def logits_of(model, tokens: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([tokens]), use_cache=False).logits[0]


def greedy(model, prompt: list[int]) -> tuple[list[int], float]:
    """The greedy continuation, and the smallest lead that one of its tokens had."""
    tokens, lead = list(prompt), float("inf")
    for _ in range(GREEDY_TOKENS):
        row = logits_of(model, tokens)[-1].float()
        best = row.topk(2).values
        lead = min(lead, ((best[0] - best[1]) / row.abs().max()).item())
        tokens.append(int(row.argmax()))
    return tokens[len(prompt) :], lead


def run_case(model, prompts: list[list[int]]) -> tuple[list[torch.Tensor], list[list[int]], float]:
    continued = [greedy(model, prompt) for prompt in prompts]
    return [logits_of(model, prompt) for prompt in prompts], [c[0] for c in continued], min(c[1] for c in continued)


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference in a row over the row's largest logit, of the worst row."""
    rows = (actual.float() - expected).abs().amax(1) / expected.abs().amax(1)
    return rows.max().item()


class ModelGoldens:
    """What one model contributes: its directory, its adapters, a file of logits and an entry of the manifest."""

    def __init__(self, spec: TinyModel, out: Path, seed: int):
        self.spec, self.seed, self.out = spec, seed, out / spec.name
        self.tensors: dict[str, torch.Tensor] = {}
        self.cases: list[dict] = []
        self.prompts: list[list[int]] = []

    def make(self) -> dict:
        save_model(self.spec, self.out, self.seed)
        self.add_base()
        for adapter in ADAPTERS:
            if self.spec.all_adapters or adapter.name in self.spec.adapters:
                self.add_adapter(adapter)
        for adapter in FORMS:
            if self.spec.forms == ["all"] or adapter.name in self.spec.forms:
                self.add_adapter(adapter)
        if self.spec.forms == ["all"]:
            self.add_compositions()
        if self.spec.config_form == 5:
            rewrite_config_in_form_5(self.out)
        save_file(self.tensors, self.out / "goldens.safetensors")
        return {"name": self.spec.name, "family": self.spec.family, "prompts": self.prompts, "cases": self.cases}

    def add_base(self) -> None:
        model = load_model(self.out, torch.float32)
        for attempt in range(MAX_ATTEMPTS):
            generator = seeded(self.seed, self.spec.name, "prompts", attempt)
            self.prompts = [
                torch.randint(3, self.spec.config["vocab_size"], (length,), generator=generator).tolist()
                for length in PROMPT_LENGTHS
            ]
            if self.add_case("base", None, model):
                return
        raise RuntimeError(f"{self.spec.name}: no prompts with clear greedy tokens")

    def add_adapter(self, adapter: TinyAdapter) -> None:
        directory = self.out / "adapters" / adapter.name
        for attempt in range(MAX_ATTEMPTS):
            shutil.rmtree(directory, ignore_errors=True)
            base = load_model(self.out, torch.float32)
            save_adapter(adapter, base, directory, self.seed, self.spec.name, adapter.name, attempt)
            model = self.adapted(adapter, directory, torch.float32)
            if self.add_case(adapter.name, directory, model, adapter):
                return
        raise RuntimeError(f"{self.spec.name}/{adapter.name}: no weights with clear greedy tokens")

    def adapted(self, adapter: TinyAdapter, directory: Path, dtype: torch.dtype):
        base = load_model(self.out, dtype)
        resize(adapter, base, seeded(0))  # other new rows than in training: the adapter brings its own
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tied weights, which are what some of the adapters are about
            return PeftModel.from_pretrained(base, directory).eval()

    def add_compositions(self) -> None:
        for attempt in range(MAX_ATTEMPTS):
            for adapter in COMPOSED:
                directory = self.out / "adapters" / adapter.name
                shutil.rmtree(directory, ignore_errors=True)
                save_adapter(adapter, load_model(self.out, torch.float32), directory, self.seed, self.spec.name, adapter.name, attempt)
            num_cases = len(self.cases)
            if all(self.add_composition(name, parts) for name, parts in COMPOSITIONS.items()):
                return
            del self.cases[num_cases:]
        raise RuntimeError(f"{self.spec.name}: no compositions with clear greedy tokens")

    def add_composition(self, name: str, parts: list[tuple[str, float]]) -> bool:
        model = None
        for i, (adapter, _) in enumerate(parts):
            directory = self.out / "adapters" / adapter
            if model is None:
                model = PeftModel.from_pretrained(load_model(self.out, torch.float32), directory, adapter_name=f"part{i}")
            else:
                model.load_adapter(directory, adapter_name=f"part{i}")
        weights = [weight for _, weight in parts]
        model.add_weighted_adapter([f"part{i}" for i in range(len(parts))], weights, "sum", combination_type="cat")
        model.set_adapter("sum")
        if not self.add_case(name, None, model.eval()):
            return False
        self.cases[-1]["parts"] = [[f"adapters/{adapter}", weight] for adapter, weight in parts]
        return True

    def add_case(self, name: str, directory: Path | None, model, adapter: TinyAdapter | None = None) -> bool:
        prompts = self.prompts_of(adapter)
        logits, tokens, lead = run_case(model, prompts)
        if lead < MIN_LEAD:
            return False
        case = {"name": name, "adapter": directory and f"adapters/{name}", "greedy": tokens}
        if directory:
            case["modules"] = sum(isinstance(m, peft.tuners.lora.LoraLayer) for m in model.modules())
        if prompts is not self.prompts:
            case["prompts"] = prompts
        for i, rows in enumerate(logits):
            self.tensors[f"{name}/{i}"] = rows.contiguous()
        if self.spec.bf16_run and name in ("base", "full-r8"):
            case["bf16_error"] = self.bf16_error(name, directory and self.adapted(adapter, directory, torch.bfloat16), logits)
        elif self.spec.bf16_run and self.spec.forms and directory:  # the figure alone
            case["bf16_error"] = self.bf16_error(None, self.adapted(adapter, directory, torch.bfloat16), logits, prompts)
        self.cases.append(case)
        return True

    def prompts_of(self, adapter: TinyAdapter | None) -> list[list[int]]:
        """The model's prompts; with the adapter's own tokens in them where it has some."""
        if adapter is None or not (adapter.prompt_tokens or adapter.vocab):
            return self.prompts
        size = adapter.vocab or self.spec.config["vocab_size"]
        prompts = [[min(token, size - 1) for token in prompt] for prompt in self.prompts]
        for prompt in prompts:
            for i, token in enumerate(adapter.prompt_tokens):
                prompt[2 + 3 * i] = token
        return prompts

    def bf16_error(self, name: str | None, model, expected: list[torch.Tensor], prompts=None) -> float:
        model = model or load_model(self.out, torch.bfloat16)
        worst = 0.0
        for i, prompt in enumerate(prompts or self.prompts):
            rows = logits_of(model, prompt).to(torch.bfloat16).contiguous()
            if name:
                self.tensors[f"{name}.bf16/{i}"] = rows
            worst = max(worst, relative_error(rows, expected[i]))
        return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default_out = Path(__file__).parents[1] / "data" / "oracle"
    parser.add_argument("--out", type=Path, default=default_out, help="folder to write (default: tests/data/oracle)")
    parser.add_argument("--seed", type=int, default=1, help="of all weights and prompts (default: 1)")
    arguments = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)  # more threads may add in another order
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        models = [ModelGoldens(spec, scratch, arguments.seed).make() for spec in MODELS]
        versions = {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}
        manifest = {"seed": arguments.seed, "versions": versions, "models": models}
        (scratch / "goldens.json").write_text(dump(manifest))
        (scratch / "peft_matching.json").write_text(dump(matching_cases(arguments.seed)))
        shutil.rmtree(arguments.out, ignore_errors=True)
        shutil.copytree(scratch, arguments.out)
    size = sum(f.stat().st_size for f in arguments.out.rglob("*") if f.is_file())
    print(f"{arguments.out}: {len(models)} models, {sum(len(m['cases']) for m in models)} cases, {size / 1e6:.1f} MB")


def dump(value) -> str:
    """JSON with one line per innermost list or object, so that a change of the goldens can be read as a diff."""
    if isinstance(value, dict) and any(isinstance(v, (dict, list)) for v in value.values()):
        return "{" + ",\n".join(f"{json.dumps(k)}: {dump(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list) and any(isinstance(v, (dict, list)) for v in value):
        return "[" + ",\n".join(dump(v) for v in value) + "]"
    return json.dumps(value)


if __name__ == "__main__":
    main()
