"""Whether figures in documents are those that the code has: documented_limits.txt beside this lists them."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIST = "tools/documented_limits.txt"
UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "ms": 1e-3, "s": 1, "minutes": 60, "minute": 60}
DURATION = re.compile(r"(?:std::chrono::)?(milliseconds|seconds|minutes|hours)\b\s*\w*\s*[({]\s*([\d']+)\s*[)}]")
SECONDS = {"milliseconds": 1e-3, "seconds": 1, "minutes": 60, "hours": 3600}


class NotFound(Exception):
    pass


def documented(figure):
    """'32 KiB' → 32768, '10 s' → 10."""
    number, _, unit = figure.partition(" ")
    return float(number.replace(",", "")) * UNITS[unit]


def in_code(file, path):
    """What the file sets the constant or member to: bytes, seconds or a count."""
    text = (ROOT / file).read_text()
    *anchors, name = path.split("/")
    at = 0
    for anchor in anchors:
        found = re.compile(rf"\b{anchor}\b").search(text, at)
        if not found:
            raise NotFound(f"{file} has no {path}")
        at = found.end()
    found = re.compile(rf"\b{name}(?::\s*\w+)?\s*(?:=\s*((?:\{{[^}}]*\}}|[^;,{{}}])+)|\{{([^}}]+)\}})").search(text, at)
    if not found:
        raise NotFound(f"{file} sets no {path}")
    line_start = text.rfind("\n", 0, found.start())
    if duration := DURATION.search(text[line_start : found.end() + 1]):
        return int(duration[2].replace("'", "")) * SECONDS[duration[1]]
    expression = re.sub(r"\bu?(?:size_t|int\d+_t)\{([^}]*)\}", r"\1", found[1] or found[2]).replace("'", "")
    expression = re.sub(r"//.*|\s", "", expression)
    if not re.fullmatch(r"[\d.<*+()e-]+", expression):
        raise NotFound(f"{file} {path} = {expression}: no number that can be read here")
    scales = [scale for ending, scale in {"_us": 1e-6, "Us": 1e-6, "_ms": 1e-3}.items() if name.endswith(ending)]
    return eval(expression) * (scales or [1])[0]  # digits and operators alone


def problems():
    """[(file, line, what is wrong)]"""
    listed = ""
    for number, line in enumerate((ROOT / LIST).read_text().splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        document, words, places = line.split(" :: ")
        listed += words.split("{")[0] + "\n" if document == "docs/requests.md" else ""
        figures = re.findall(r"\{(.*?)\}", words)
        plain = re.sub(r"[{}]", "", words).strip()
        if plain not in " ".join((ROOT / document).read_text().split()):
            yield LIST, number, f"{document} does not say: {plain}"
        places = [place.split() for place in places.split(", ")]
        if len(places) != len(figures):
            yield LIST, number, f"{len(figures)} figures, {len(places)} places"
        for figure, (file, path) in zip(figures, places):
            try:
                value = in_code(file, path)
            except NotFound as error:
                yield LIST, number, str(error)
                continue
            if abs(documented(figure) - value) > 1e-9 * value:
                yield LIST, number, f"{document} says {figure}, {file} has {path} = {value:g}"
    yield from unlisted(listed)


def unlisted(listed):
    document = "docs/requests.md"
    is_limits = False
    for number, line in enumerate((ROOT / document).read_text().splitlines(), start=1):
        if line.startswith("## "):
            is_limits = line == "## Limits"
        if is_limits and line.startswith("| ") and not line.startswith("| what |"):
            if "| " + line.split("|")[1].strip() + " |" not in listed:
                yield document, number, f"a limit that is not in {LIST}, so that nothing holds it to the code"
