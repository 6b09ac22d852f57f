#!/usr/bin/env python3
"""Checks who includes whom: tools/layers.txt is the law.

Per-module include roots already keep a module from what its CMakeLists.txt does not list; this checks what they cannot see:
that the lists themselves obey the law, that no header includes itself in a circle, that no include climbs with "../",
and that every source file is named in its CMakeLists.txt (an unbuilt file does not exist).
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SRC = ROOT / "src"
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def read_law():
    """module -> the modules it may include; None: any."""
    law = {}
    for line in (ROOT / "tools/layers.txt").read_text().splitlines():
        line = line.split("#")[0].strip()
        if line:
            module, allowed = line.split(":")
            law[module.strip()] = None if allowed.strip() == "*" else set(allowed.split())
    return law


def check_law(law):
    """The law itself names known modules and has no circle."""
    for module, allowed in law.items():
        for other in allowed or ():
            if other not in law:
                yield f"tools/layers.txt: {module} may include {other}, which is not listed"

    def reaches(module, goal, seen):
        for other in law.get(module) or ():
            if other == goal or (other not in seen and reaches(other, goal, seen | {other})):
                return True
        return False

    for module in law:
        if reaches(module, module, set()):
            yield f"tools/layers.txt: {module} reaches itself"


def check_includes(law, includes):
    for path, included in includes.items():
        module = path.relative_to(SRC).parts[0]
        if module not in law:
            yield f"{path.relative_to(ROOT)}: module {module} is not in tools/layers.txt"
            continue
        for name in included:
            where = f"{path.relative_to(ROOT)}: includes {name}"
            target = name.split("/")[0]
            if ".." in name.split("/"):
                yield f'{where}: write it as "module/file.h"'
            elif target not in law:
                if name != "rust/textkit/textkit.h" and not name.startswith("textkit/"):
                    yield f"{where}: not a module of Lorry (a library's header takes <>)"
            elif target != module and law[module] is not None and target not in law[module]:
                yield f"{where}: {module} may include {', '.join(sorted(law[module])) or 'nothing'}"


def check_circles(includes):
    """Depth-first over the headers; reports each circle once."""
    done = set()
    path = []

    def visit(header):
        if header in path:
            circle = path[path.index(header):] + [header]
            return [" -> ".join(str(p.relative_to(SRC)) for p in circle)]
        if header in done or header not in includes:
            return []
        path.append(header)
        found = [c for name in includes[header] for c in visit(SRC / name)]
        path.pop()
        done.add(header)
        return found

    for header in includes:
        for circle in visit(header):
            yield f"headers include each other in a circle: {circle}"


def check_built(sources):
    """Every .cc stands in a CMakeLists.txt of its own folder or one above it, inside its module."""
    for path in sources:
        if path.suffix not in (".cc", ".cu"):
            continue
        folder = path.parent
        while folder != SRC:
            lists = folder / "CMakeLists.txt"
            if lists.exists():
                words = re.split(r"[\s()\"]+", re.sub(r"#.*", "", lists.read_text()))
                if str(path.relative_to(folder)) in words:
                    break
            folder = folder.parent
        else:
            yield f"{path.relative_to(ROOT)}: no CMakeLists.txt names it"


def main():
    sources = sorted(p for p in SRC.rglob("*") if p.suffix in (".h", ".cc", ".cu", ".cuh", ".inc"))
    includes = {p: INCLUDE.findall(p.read_text()) for p in sources}
    law = read_law()
    problems = [*check_law(law), *check_includes(law, includes), *check_circles(includes), *check_built(sources)]
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"layers: {len(sources)} files in {len(law)} modules include only what tools/layers.txt allows")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
