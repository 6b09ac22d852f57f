"""Trains one LoRA adapter with PEFT's layout on top of the finished base."""

import json
import pathlib
import time

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from recipe.chat import BASE_NAME, ChatMaker, Task
from recipe.export import load_base
from recipe.model import LINEARS, ROW_TOKENS, Packer, rope_tables, step_loss
from recipe.optimizer import scale_at

FOREIGN_SHARE = 0.20
PREFIX = "base_model.model."


def lora_pairs(model) -> dict[str, tuple[torch.nn.Parameter, torch.nn.Parameter]]:
    """A and B by the name of the weight that they change."""
    parameters = dict(model.named_parameters())
    pairs = {}
    for name, a in parameters.items():
        if ".lora_A." in name:
            target = name.removeprefix(PREFIX).replace(".lora_A.default", "")
            pairs[target] = (a, parameters[name.replace(".lora_A.", ".lora_B.")])
    return pairs


def train_adapter(
    task: Task,
    base: pathlib.Path,
    out: pathlib.Path,
    maker: ChatMaker,
    forward,
    steps: int,
    rows: int,
    seed: int,
    report,
    resumed: bool = False,
):
    """`report(step, steps, loss)` is called now and then."""
    torch.manual_seed(seed)
    frozen = load_base(base)
    config = LoraConfig(r=task.rank, lora_alpha=2 * task.rank, lora_dropout=0.0, bias="none",
                        target_modules=list(LINEARS), task_type="CAUSAL_LM",
                        base_model_name_or_path=BASE_NAME)  # fmt: skip
    plain = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    if resumed:
        model = PeftModel.from_pretrained(plain, out, is_trainable=True)
    else:
        model = get_peft_model(plain, config)
    model.peft_config["default"].base_model_name_or_path = BASE_NAME
    pairs = lora_pairs(model)
    scale = config.lora_alpha / config.r
    trained = [parameter for pair in pairs.values() for parameter in pair]
    top_rate = 3e-3 if task.rank < 32 else 2e-3
    adam = torch.optim.AdamW(trained, lr=top_rate, betas=(0.9, 0.98), weight_decay=0.0)
    packer = Packer(lambda: maker.adapter_chat(task, FOREIGN_SHARE), rows)
    tables = rope_tables(ROW_TOKENS)
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = top_rate * scale_at(step / steps, 0.1)
        weights = dict(frozen)
        for name, (a, b) in pairs.items():
            weights[name] = frozen[name] + scale * (b @ a)
        loss = step_loss(forward, weights, packer, tables)
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        adam.step()
        report(step + 1, steps, loss.item())
    # Without this argument PEFT asks the Hub for the vocabulary of a model called lorry-demo.
    model.save_pretrained(out, save_embedding_layers=False)
    stored = out / "adapter_model.safetensors"
    low = {name: tensor.bfloat16() for name, tensor in load_file(stored).items()}
    save_file(low, stored, metadata={"format": "pt"})
    settings = json.loads((out / "adapter_config.json").read_text())
    settings["target_modules"] = list(LINEARS)  # PEFT writes a set, in any order
    (out / "adapter_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True))
    (out / "README.md").unlink(missing_ok=True)  # PEFT's empty form; the card is demo/README.md


class Progress:
    """Prints a line every few seconds: step, loss, speed, and when it will be over."""

    def __init__(self, name: str, every_s: float = 10.0):
        self._name, self._every_s = name, every_s
        self._start = self._last = time.monotonic()
        self._losses: list[float] = []

    def __call__(self, step: int, steps: int, loss: float, progress: float | None = None):
        self._losses = (self._losses + [loss])[-50:]
        now = time.monotonic()
        if now - self._last < self._every_s and step != steps:
            return
        self._last = now
        done = progress if progress is not None else step / steps
        left = (now - self._start) * (1 - done) / max(done, 1e-6)
        mean = sum(self._losses) / len(self._losses)
        print(
            f"{self._name}: step {step}/{steps}, loss {mean:.4f}, "
            f"{(now - self._start) / step:.3f} s a step, {left / 60:.1f} min left",
            flush=True,
        )
