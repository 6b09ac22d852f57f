#!/usr/bin/env python3
"""House rules that neither the compiler nor clang-format knows. Each finding is `file:line: what is wrong`."""

import pathlib
import re
import subprocess
import sys

import documented_limits

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAX_LINES = 800

CODE = {".h", ".cc", ".cu", ".cuh", ".inc", ".rs", ".py", ".sh", ".cmake"}
# Tables of data and generated code may be long.
LONG_FILES = {"demo/recipe/words.py"}

BANNED_FILE_WORDS = {"util", "utils", "helper", "helpers", "manager", "misc", "v2", "fast", "new", "old"}
BANNED_TYPE = re.compile(r"\b(?:class|struct)\s+(\w*(?:Manager|Helper|Util|Utils|Fast\w*|V2))\b")
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
MUTEX = re.compile(r"\bstd::(?:recursive_|shared_|timed_)?(?:mutex|condition_variable(?:_any)?)\b")
ENVIRONMENT = re.compile(r"\b(?:secure_)?getenv\s*\(|\benviron\b")
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
# A pointer member that holds numbers: "const float* x = nullptr;" or "std::byte* arena;" inside a struct of arguments.
TENSOR_MEMBER = re.compile(
    r"^  (?:const\s+)?(?:void|float|double|BFloat16|std::byte|u?int(?:8|16|32|64)_t|TokenId|char)\s*\*\s*\w+\s*(?:=\s*nullptr)?;(.*)$")


def tracked_files():
    listing = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True,
                             capture_output=True, text=True).stdout
    return [ROOT / name for name in listing.splitlines() if (ROOT / name).is_file()]


def find_test_files(names):
    """Tests, and the headers in src/ that only tests include."""
    tests = {n for n in names if n.endswith("_test.cc") or n.startswith("tests/") or "/testing/" in n}
    includers = {}
    for name in names:
        if name.endswith(tuple(CODE - {".py", ".sh", ".rs", ".cmake"})):
            for included in INCLUDE.findall((ROOT / name).read_text()):
                includers.setdefault("src/" + included, set()).add(name)
    grown = True
    while grown:
        only_tests = {header for header, users in includers.items() if users <= tests}
        grown = not only_tests <= tests
        tests |= only_tests
    return tests


def may_lock(name):
    """Locks live under mailboxes, connections, collectives and the compute pool; everyone else sends messages."""
    return name.startswith(("src/base/", "src/net/", "src/comm/", "src/device/stream"))


def may_read_environment(name):
    return name.startswith(("src/config/", "src/apps/"))


def maps_a_file(lines, number):
    """Whoever shortens a file that is mapped ends its reader (SIGBUS); what files hold is read."""
    call = " ".join(lines[number - 1 : number + 3]).split(";")[0]
    return re.search(r"\bmmap(?:64)?\s*\(", lines[number - 1].split("//")[0]) and "MAP_ANONYMOUS" not in call


def needs_shapes(name):
    return name.startswith(("src/kernels/", "src/model/")) and name.endswith(".h")


def check_code(name, lines, is_test):
    if len(lines) > MAX_LINES and name not in LONG_FILES:
        yield 1, f"{len(lines)} lines; {MAX_LINES} is the limit: split it by what it owns"
    stem_words = set(pathlib.PurePath(name).stem.split("_"))
    for word in sorted(stem_words & BANNED_FILE_WORDS):
        yield 1, f"a file named '{word}' says nothing about what is in it"
    for number, line in enumerate(lines, start=1):
        if UNFINISHED.search(line) and name != "tools/lint.py":
            yield number, "unfinished work does not land: do it, or open an issue"
        if not name.startswith("src/"):
            continue
        code = line.split("//")[0]
        if match := BANNED_TYPE.search(code):
            yield number, f"{match[1]}: name the type after what it owns"
        if not is_test and MUTEX.search(code) and not may_lock(name):
            yield number, "a lock outside base/, net/, comm/ and the compute pool: send a message instead"
        if not is_test and ENVIRONMENT.search(code) and not may_read_environment(name):
            yield number, "the environment is read in config/ and apps/ only"
        if maps_a_file(lines, number):
            yield number, "a file is read, never mapped: whoever shortens it would end this process"
        if needs_shapes(name) and (match := TENSOR_MEMBER.match(line)) and "[" not in match[1]:
            if "[" not in lines[number - 2]:  # the comment may stand on the line above
                yield number, "a tensor without its shape: add // [rows, columns] type"


def main():
    names = [str(p.relative_to(ROOT)) for p in tracked_files() if p.suffix in CODE]
    tests = find_test_files(names)
    problems = []
    for name in names:
        lines = (ROOT / name).read_text().splitlines()
        problems += [f"{name}:{line}: {what}" for line, what in check_code(name, lines, name in tests)]
    problems += [f"{name}:{line}: {what}" for name, line, what in documented_limits.problems()]
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"lint: {len(names)} files keep the house rules")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
