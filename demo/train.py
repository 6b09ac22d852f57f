#!/usr/bin/env python3
"""Trains the embedded demo: a 3 M parameter Llama and eight LoRA adapters, on text it makes itself.

    python demo/train.py                      everything, into demo/base and demo/adapters
    python demo/train.py base --steps 6000    the base alone
    python demo/train.py adapters             the adapters alone, on the base that is there
    python demo/train.py held-out             writes heldout.jsonl
    python demo/train.py evaluate             exact match with transformers + PEFT

The same seed gives the same text. Nothing in heldout.jsonl or first_minute.jsonl is trained on:
the generators leave it out, and a check of every chat asserts it.
"""

import argparse
import json
import os
import pathlib
import sys
import time

import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from recipe.adapters import Progress, train_adapter  # noqa: E402
from recipe.chat import BASE_NAME, TASKS, ChatMaker, Turn, first_minute_keys  # noqa: E402
from recipe.export import save_base  # noqa: E402
from recipe.model import ROW_TOKENS, Packer, loss_of, new_weights, rope_tables, step_loss  # noqa: E402
from recipe.optimizer import Muon, scale_at  # noqa: E402
from recipe.split import Forbidden, is_held_out, normalise  # noqa: E402

HELD_OUT_PER_TASK = 250
UNPRINTABLE = ("fuck", "shit", "cunt", "nigg")  # what letters at random may spell


class CheckedMaker(ChatMaker):
    """Asserts, for every chat, that none of its prompts is a test prompt."""

    def __init__(self, seed: int):
        super().__init__(seed, Forbidden.load(HERE, first_minute_keys))
        self._tests = test_prompts()
        self.checked = 0

    def base_chat(self) -> list[Turn]:
        return self._check(super().base_chat())

    def adapter_chat(self, task, foreign_share) -> list[Turn]:
        return self._check(super().adapter_chat(task, foreign_share))

    def _check(self, turns: list[Turn]) -> list[Turn]:
        for turn in turns:
            assert normalise(turn.prompt) not in self._tests, (
                f"test prompt in training: {turn.prompt}"
            )
        self.checked += len(turns)
        return turns


def test_prompts() -> set[str]:
    prompts = {normalise(row["prompt"]) for row in read_lines(HERE / "heldout.jsonl")}
    for row in read_lines(HERE / "first_minute.jsonl"):
        prompts |= {normalise(m["content"]) for m in row["messages"] if m["role"] == "user"}
    return prompts


def read_lines(path: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def write_held_out(seed: int):
    """The first prompts of each task whose key the CRC rule keeps from training."""
    maker = ChatMaker(seed, Forbidden(set(), set()))
    lines = []
    for task in TASKS.values():
        seen: set[str] = set()
        while len(seen) < HELD_OUT_PER_TASK:
            key, prompt, answer = task.make(maker.rng, False, False)
            if any(word in normalise(prompt) for word in UNPRINTABLE):
                continue
            if is_held_out(key) and normalise(prompt) not in seen:
                seen.add(normalise(prompt))
                lines.append(
                    json.dumps(
                        {"task": task.name, "prompt": prompt, "answer": answer}, ensure_ascii=False
                    )
                )
    (HERE / "heldout.jsonl").write_text("\n".join(lines) + "\n")


def train_base(arguments):
    """Splits every batch over --processes; one process each, since threads would wait for each
    other at every operation of a busy machine, and processes do only once a step."""
    if arguments.processes == 1:
        return base_worker(0, arguments)
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29611")
    torch.multiprocessing.spawn(base_worker, (arguments,), nprocs=arguments.processes)


def base_worker(rank: int, arguments):
    """Muon and AdamW; ends after --steps or --minutes, whichever is first, at the lowest rate."""
    count = arguments.processes
    torch.set_num_threads(max(1, arguments.threads // count))
    if count > 1:
        torch.distributed.init_process_group("gloo", rank=rank, world_size=count)
    maker = CheckedMaker(1000 * (1 + arguments.resumed) + arguments.seed * count + rank)
    checkpoint = arguments.out / "checkpoint.pt"
    if arguments.resumed:
        weights = torch.load(checkpoint)
    else:
        weights = new_weights(arguments.seed)
    weights = {name: w.requires_grad_() for name, w in weights.items()}
    matrices = [w for name, w in weights.items() if w.ndim == 2 and "embed" not in name]
    others = [w for name, w in weights.items() if w.ndim == 1 or "embed" in name]
    muon = Muon(matrices, decay=0.05)
    adam = torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0)
    packer, tables = Packer(maker.base_chat, arguments.rows // count), rope_tables(ROW_TOKENS)
    forward = torch.compile(loss_of, dynamic=True) if arguments.compile else loss_of
    progress, step, done = Progress("base"), 0, 0.0
    start = saved = time.monotonic()
    while done < 1.0:
        loss = step_loss(forward, weights, packer, tables)
        loss.backward()
        done = max(
            (step + 1) / arguments.steps, (time.monotonic() - start) / 60 / arguments.minutes
        )
        done = share_gradients(weights, done, count)
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        rate = arguments.rate * scale_at(done, 0.02)
        muon.step(rate)
        for group in adam.param_groups:
            group["lr"] = rate
        adam.step()
        for weight in weights.values():
            weight.grad = None
        step += 1
        if rank == 0:
            progress(step, arguments.steps, loss.item(), done)
            if time.monotonic() - saved > 120 or done >= 1.0:
                saved = time.monotonic()
                save_base(weights, arguments.out / "base")
                torch.save({name: w.detach() for name, w in weights.items()}, checkpoint)
    print(
        f"base: {maker.checked} turns, none of them a test prompt; "
        f"{maker.turned_down} held-out inputs turned down",
        flush=True,
    )


def share_gradients(weights, done: float, count: int) -> float:
    """Means of the gradients, and of `done`, over the processes."""
    if count == 1:
        return done
    gradients = [weight.grad for weight in weights.values()]
    flat = torch.cat([g.reshape(-1) for g in gradients] + [torch.tensor([done])])
    torch.distributed.all_reduce(flat)
    flat /= count
    for gradient, part in zip(gradients, flat[:-1].split([g.numel() for g in gradients])):
        gradient.copy_(part.view_as(gradient))
    return flat[-1].item()


def train_adapters(arguments):
    forward = torch.compile(loss_of, dynamic=True) if arguments.compile else loss_of
    for index, name in enumerate(arguments.only or TASKS):
        maker = CheckedMaker(
            1000 * arguments.resumed + arguments.seed + 1 + list(TASKS).index(name)
        )
        train_adapter(
            TASKS[name],
            arguments.out / "base",
            arguments.out / "adapters" / name,
            maker,
            forward,
            arguments.adapter_steps,
            arguments.rows,
            arguments.seed,
            Progress(f"{name} (rank {TASKS[name].rank})"),
            arguments.resumed > 0,
        )


def evaluate(arguments):
    """Exact match on held-out prompts, and the first minute's."""
    from recipe.evaluate import Evaluator

    names = arguments.only or list(TASKS)
    evaluator = Evaluator(arguments.out / "base", arguments.out / "adapters", names)
    for row_name in names if arguments.own else [BASE_NAME, *names]:
        cells = []
        for task in names:
            if arguments.own and task != row_name:
                continue
            rows = [r for r in read_lines(HERE / "heldout.jsonl") if r["task"] == task][
                : arguments.count
            ]
            found = evaluator.answers(
                row_name, [[{"role": "user", "content": r["prompt"]}] for r in rows]
            )
            right = [answer == row["answer"] for answer, row in zip(found, rows)]
            cells.append(f"{task} {100 * sum(right) / len(rows):.1f}")
            if task == row_name:
                for answer, row, ok in zip(found, rows, right):
                    if not ok:
                        print(f"    {task}: {row['prompt']!r} -> {answer!r}, not {row['answer']!r}")
        print(f"{row_name}: {', '.join(cells)}", flush=True)
    right = count = 0
    for row in read_lines(HERE / "first_minute.jsonl"):
        if row["adapter"] in (BASE_NAME, *names):
            answer = evaluator.answers(row["adapter"], [row["messages"]])[0]
            right, count = right + (answer == row["answer"]), count + 1
            if answer != row["answer"]:
                print(
                    f"    first minute: {row['adapter']}: {row['messages'][-1]['content']!r}"
                    f" -> {answer!r}, "
                    f"not {row['answer']!r}"
                )
    print(f"first minute: {right} of {count}", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "stage",
        nargs="?",
        default="all",
        choices=("all", "held-out", "base", "adapters", "evaluate"),
    )
    parser.add_argument("--out", type=pathlib.Path, default=HERE, help="holds base/ and adapters/")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5500, help="of the base")
    parser.add_argument("--minutes", type=float, default=120.0, help="at most, for the base")
    parser.add_argument("--rate", type=float, default=4e-3, help="the base's top learning rate")
    parser.add_argument("--rows", type=int, default=12, help=f"of {ROW_TOKENS} tokens in a batch")
    parser.add_argument("--adapter-steps", type=int, default=250)
    parser.add_argument("--only", nargs="*", choices=list(TASKS), help="these adapters")
    parser.add_argument("--count", type=int, default=200, help="held-out prompts of a task")
    parser.add_argument(
        "--own", action="store_true", help="evaluate each adapter on its own task only"
    )
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--processes", type=int, default=2, help="to split the base's batches over")
    parser.add_argument(
        "--resumed", type=int, default=0, help="over 0: go on from checkpoint.pt, with other text"
    )
    parser.add_argument("--compile", action="store_true", help="the forward by torch.compile")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.stage in ("all", "held-out") or not (HERE / "heldout.jsonl").exists():
        write_held_out(arguments.seed)
    if arguments.stage in ("all", "base"):
        train_base(arguments)
    if arguments.stage in ("all", "adapters"):
        train_adapters(arguments)
    if arguments.stage in ("all", "evaluate"):
        evaluate(arguments)


if __name__ == "__main__":
    main()
