"""Greedy answers from the files as they were written, by transformers and PEFT in bf16."""

import pathlib

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from recipe.chat import BASE_NAME

LONGEST_ANSWER = 170


class Evaluator:
    def __init__(self, base: pathlib.Path, adapters: pathlib.Path, names: list[str]):
        self._tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
        for index, name in enumerate(names):
            if index == 0:
                model = PeftModel.from_pretrained(
                    model, adapters / name, adapter_name=name, autocast_adapter_dtype=False
                )
            else:
                model.load_adapter(adapters / name, adapter_name=name, autocast_adapter_dtype=False)
        self._model = model.eval()

    @torch.inference_mode()
    def answers(self, name: str, chats: list[list[dict]], batch: int = 64) -> list[str]:
        """Of the base, or of the adapter `name`, to each chat."""
        if name == BASE_NAME:
            with self._model.disable_adapter():
                return self._generate(chats, batch)
        self._model.set_adapter(name)
        return self._generate(chats, batch)

    def _generate(self, chats, batch: int) -> list[str]:
        prompts = [
            self._tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
            for chat in chats
        ]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        found = [""] * len(prompts)
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            inputs = self._tokenizer(
                [prompts[i] for i in chosen],
                return_tensors="pt",
                padding=True,
                add_special_tokens=False,
                return_token_type_ids=False,
            )
            output = self._model.generate(**inputs, do_sample=False, max_new_tokens=LONGEST_ANSWER)
            texts = self._tokenizer.batch_decode(
                output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
            )
            for index, text in zip(chosen, texts):
                found[index] = text
        return found
