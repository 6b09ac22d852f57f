#!/usr/bin/env python3
"""Measures the demo over HTTP: exact match of every adapter on every task's held-out prompts.

    python3 demo/accuracy.py --url http://127.0.0.1:8000 --out demo/accuracy.md
    python3 demo/accuracy.py --n 20 --check --least-own 50    the small form, for tests
    python3 demo/accuracy.py --first-minute --check           the sixty prompts written by hand

Needs nothing but Python. Adapters and tasks are shuffled, so that every batch of the server mixes
them: answers of the wrong adapter show up as a low own score or a high foreign one.
"""

import argparse
import concurrent.futures
import json
import pathlib
import random
import sys
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
TASKS = ("sql", "json", "date", "french", "roman", "reverse", "piglatin", "morse")
MOST_FOREIGN = 0.20
LEAST_FIRST_MINUTE = 0.90
LONGEST_ANSWER_TOKENS = 170
TIME_LIMIT_S = 120


def read_lines(name: str) -> list[dict]:
    return [json.loads(line) for line in (HERE / name).read_text(encoding="utf-8").splitlines()]


def ask(url: str, key: str | None, model: str, messages: list[dict]) -> str:
    """The model's greedy answer."""
    body = {
        "model": model,
        "messages": messages,
        "temperature": 0,
        "max_tokens": LONGEST_ANSWER_TOKENS,
    }
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), headers
    )
    try:
        with urllib.request.urlopen(request, timeout=TIME_LIMIT_S) as reply:
            return json.load(reply)["choices"][0]["message"]["content"]
    except urllib.error.HTTPError as error:
        raise SystemExit(
            f"{model}: HTTP {error.code}: {error.read().decode(errors='replace')}"
        ) from error
    except urllib.error.URLError as error:
        raise SystemExit(
            f"no server at {url}: {error.reason} (start one with `lorry serve`)"
        ) from error


def base_name(url: str, key: str | None) -> str:
    """The first model of the server's list."""
    request = urllib.request.Request(f"{url}/v1/models")
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=TIME_LIMIT_S) as reply:
            return json.load(reply)["data"][0]["id"]
    except urllib.error.URLError as error:
        raise SystemExit(f"no server at {url}: {error} (start one with `lorry serve`)") from error


def ask_all(arguments, questions: list[tuple[str, list[dict]]]) -> list[str]:
    """Answers in the order of `questions`, asked in a shuffled order, many at once."""
    order = list(range(len(questions)))
    random.Random(arguments.seed).shuffle(order)
    answers = [""] * len(questions)
    start = shown = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(arguments.at_once) as pool:
        futures = {
            pool.submit(ask, arguments.url, arguments.api_key, *questions[i]): i for i in order
        }
        try:
            for done, future in enumerate(concurrent.futures.as_completed(futures), 1):
                answers[futures[future]] = future.result()
                now = time.monotonic()
                if now - shown > 5:
                    shown = now
                    left = (now - start) / done * (len(order) - done)
                    print(f"{done} of {len(order)} answers, {left:.0f} s left", file=sys.stderr)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    print(f"{len(order)} answers in {time.monotonic() - start:.1f} s", file=sys.stderr)
    return answers


def table_of(arguments, base: str) -> dict[str, dict[str, float]]:
    """Share of exact answers, by model and task."""
    rows = {
        task: [r for r in read_lines("heldout.jsonl") if r["task"] == task][: arguments.n]
        for task in TASKS
    }
    cells = [(model, task) for model in (base, *TASKS) for task in TASKS]
    questions = [
        (model, [{"role": "user", "content": row["prompt"]}])
        for model, task in cells
        for row in rows[task]
    ]
    answers = iter(ask_all(arguments, questions))
    table: dict[str, dict[str, float]] = {}
    for model, task in cells:
        right = 0
        for row in rows[task]:
            answer = next(answers)
            right += answer == row["answer"]
            if arguments.verbose and model == task and answer != row["answer"]:
                print(
                    f"{task}: {row['prompt']!r} -> {answer!r}, not {row['answer']!r}",
                    file=sys.stderr,
                )
        table.setdefault(model, {})[task] = right / len(rows[task])
    return table


def markdown(table: dict[str, dict[str, float]], base: str, n: int, how: str) -> str:
    lines = ["# Accuracy of the embedded demo", "",
             f"Exact match in per cent on {n} held-out prompts of each task, none of them in any"
             f" training set (rows: who answers; columns: whose task it is). {how}", "",
             "| | " + " | ".join(TASKS) + " |", "|---|" + "---:|" * len(TASKS)]  # fmt: skip
    for model, cells in table.items():
        figures = [
            f"**{100 * cells[t]:.1f}**" if t == model else f"{100 * cells[t]:.1f}" for t in TASKS
        ]
        label = f"{model} (base)" if model == base else model
        lines.append(f"| {label} | " + " | ".join(figures) + " |")
    return "\n".join(lines) + "\n"


def first_minute(arguments, base: str) -> float:
    rows = read_lines("first_minute.jsonl")
    names = [base if row["adapter"] == "lorry-demo" else row["adapter"] for row in rows]
    answers = ask_all(arguments, [(name, row["messages"]) for name, row in zip(names, rows)])
    right = 0
    for name, row, answer in zip(names, rows, answers):
        right += answer == row["answer"]
        if answer != row["answer"]:
            print(
                f"{name}: {row['messages'][-1]['content']!r} -> {answer!r}, not {row['answer']!r}"
            )
    print(f"first minute: {right} of {len(rows)} right")
    return right / len(rows)


def shortfalls(table: dict[str, dict[str, float]], least_own: float) -> list[str]:
    found = []
    for model, cells in table.items():
        for task, share in cells.items():
            if model == task and share < least_own:
                found.append(
                    f"{model} on its own task: {100 * share:.1f} %, not {100 * least_own:.0f} %"
                )
            elif model != task and share > MOST_FOREIGN:
                found.append(
                    f"{model} on {task}: {100 * share:.1f} %, over {100 * MOST_FOREIGN:.0f} %"
                )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--url", default="http://127.0.0.1:8000", help="of an OpenAI-compatible server"
    )
    parser.add_argument("--api-key", help="sent as a bearer token")
    parser.add_argument("--n", type=int, default=200, help="held-out prompts of each task")
    parser.add_argument("--at-once", type=int, default=32, help="requests under way at a time")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the requests")
    parser.add_argument("--out", type=pathlib.Path, help="write the table here, as Markdown")
    parser.add_argument(
        "--first-minute", action="store_true", help="ask the sixty hand-written prompts instead"
    )
    parser.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    parser.add_argument(
        "--least-own", type=float, default=95, help="per cent that --check asks of own tasks"
    )
    parser.add_argument("--verbose", action="store_true", help="print each wrong answer")
    arguments = parser.parse_args()
    arguments.url = arguments.url.rstrip("/").removesuffix("/v1")
    base = base_name(arguments.url, arguments.api_key)
    if arguments.first_minute:
        share = first_minute(arguments, base)
        return 1 if arguments.check and share < LEAST_FIRST_MINUTE else 0
    table = table_of(arguments, base)
    how = (
        "Greedy, over HTTP, all models and tasks mixed in the same batches;"
        f" `python3 demo/accuracy.py --n {arguments.n} --out demo/accuracy.md` made it."
    )
    text = markdown(table, base, arguments.n, how)
    print(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    missed = shortfalls(table, arguments.least_own / 100)
    for line in missed:
        print(line, file=sys.stderr)
    return 1 if arguments.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
