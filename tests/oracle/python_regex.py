"""What Python's `re` matches where PEFT uses it: the oracle of formats/module_pattern.

    python3.11 tests/oracle/python_regex.py            # writes tests/data/oracle/python_regex.json
    python3.11 tests/oracle/python_regex.py --random N --seed S --output FILE   # N more of chance, to look for differences

A case is a pattern, the frame that PEFT puts it in, and the names it matches (for layers_pattern: the number it finds),
or the error with which `re` refuses it.
"""

import argparse
import json
import pathlib
import random
import re
import signal
import sys
import warnings

OUTPUT = pathlib.Path(__file__).resolve().parents[1] / "data" / "oracle" / "python_regex.json"

NAMES = ["model", "model.embed_tokens", "model.layers", "model.norm", "model.rotary_emb", "lm_head"]
for layer in (0, 1, 2, 11):
    NAMES += [f"model.layers.{layer}{part}" for part in (
        "", ".self_attn", ".self_attn.q_proj", ".self_attn.k_proj", ".self_attn.v_proj", ".self_attn.o_proj", ".mlp",
        ".mlp.gate_proj", ".mlp.up_proj", ".mlp.down_proj", ".mlp.act_fn", ".input_layernorm", ".post_attention_layernorm")]
# No module is named so; they tell apart what names alone do not.
NAMES += ["a", "b", "ab", "ba", "aa", "aab", "aaa", "abab", "abc", "AB", "a\n", "a\nb", "a\nb\n", "\n", "a b", "a-b", "a]", "]", "[a]", "{", "a{", "a{,3}", "a{}", "a{1,2", "{}",
          "0", "7", "a.1.b", "x.y.3.z", "_", "^a", "a$", "a\\b", "a\tb", "\x1c", "\x00", "(", "a|b", "aZ", "A_z", "&&", "a--b", "-", "~", "abcabc", "#", "a #b", "<a>", "a>", "\x07", "\x08", "S", "8", "a.b.0.q_proj"]

# How PEFT puts a pattern into an expression of its own.
FRAMES = {
    "full": lambda pattern, name: re.fullmatch(pattern, name),
    "suffix": lambda pattern, name: re.match(rf"(.*\.)?({pattern})$", name),
    "subtree": lambda pattern, name: re.match(rf"(^|.*\.){pattern}($|\..*)", name),
    "layer": lambda pattern, name: re.match(rf"(?:^|.*?\.){pattern}\.(?P<idx>\d+)\.", name),
}

# People's own, and each construct of Python's syntax where another library means something else.
FULL = [
    r".*\.(q|v)_proj", r"model\.layers\.\d+\.self_attn\.(q|k|v|o)_proj", r"^model\.layers\.1\.mlp\.\w+_proj$",
    r"^(?!.*visual).*(?:q_proj|k_proj|v_proj)$", r"^(?!.*lm_head).*_proj", r".*(?<!gate)_proj", r".*(?<=self_attn\.)[qkvo]_proj",
    r"model\.layers\.(?:[0-9]|1[0-1])\..*(?=proj).*", r"(?P<root>model)\.layers\.(?P<idx>\d+)\.mlp\.(?P<which>up|down)_proj",
    r"model\.layers\.(\d)\1\..*", r"model\.layers\.(?P<n>\d)(?P=n)\..*", r".*\.q_proj\Z", r"\Amodel\..*\Z", r"\Amodel.*\z", r".*proj\b",
    r".*\bmlp\b.*", r".*\Bproj", r"\B", r"\b", r"(?>model|model\.norm)", r"(?>model\.norm|model)", r"model.*+", r"model.*+norm",
    r"a++b", r"a?+a", r"a{1,2}+a", r"(?:a|ab)(?:c|b)?", r"(?:ab)*+", r"(a|ab)(?(2)x|c)", r"(<)?a(?(1)>)", r"(?P<o><)?a(?(o)>|b)", r"(a)?b(?(1)b|a)",
    r"(?(1)a|b)(c)", r"((?(1)a|b))", r"(a)(?(1)b|c|d)", r"(a)(?(0)b)", r"(a)(?(x)b)", r"(a)(?(2)b)",
    r"a|ab", r"a|", r"|a", r"(|a)b", r"(a|)b", r"()", r"()*", r"(?:)*a", r"(?:|a)+", r"(?:a?)*", r"(?:a?|b)*", r"(a*)*", r"(a*)+b", r"(?:a|b|)+",
    r"a{,3}", r"a{,}", r"a{2}", r"a{2,}", r"a{1,2}", r"a{", r"a{}", r"a{1", r"a{1,2", r"a{,3", r"a{x}", r"{", r"{}", r"{1}", r"a{ 1}", r"a{2,1}", r"a{0}", r"a{0}b", r"x{0}", r"a{01}",
    r"a{1}{2}", r"(?:a{1}){2}", r"a**", r"a*?", r"a+?b", r"a??b", r"a{1,2}?b", r"a???", r"a*??", r"a*+?", r"a?*", r"*a", r"+", r"?a", r"^*a", r"$?a", r"\b*a", r"(?:^)*a", r"(?=a)*a", r"(^a)+",
    r"a$", r"a\n$", r"a$\n", r"a\Z", r"a\n\Z", r"^a", r"(?m)^a$.*", r"(?m)a$\n^b$\n?", r"(?m)a\n^", r"(?m)a\nb\n^", r"(?m).*^$", r"\n^", r"(?s).*", r".*", r"(?s)a.b", r"a.b", r"(?m:^b)|a", r"(?s:.)b?", r"(?s-i:a.b)",
    r"(?i)A.*", r"(?i)MODEL\.NORM", r"(?i:A)b", r"(?i:A)B", r"(?i)(?-i:A)B", r"(?-i:a)b", r"a(?i)b", r"(?i)", r"(?i)(?s)A.*", r"|(?i)a", r"(a(?i))", r"(?#c)(?i)AB", r"(?i)|B", r"(?i)a|B", r"(?a)\w+", r"(?u)\w+", r"(?L)a", r"(?au)a", r"(?a:\d)", r"(?ai:A)b", r"(?-a:a)", r"(?i-i:a)", r"(?-:a)", r"(?:a)", r"(?-s)a", r"(?t)a", r"(?q)a", r"(?iq:a)", r"(?i", r"(?", r"(?P", r"(?P<", r"(?x) a b # c", r"(?x)a\ b", r"(?x)[a ]b|b # or", r"(?x)a | b", r"(?x: a ) b", r"(?x: a #)" + "\n)", r"(?x)a {1,2}b", r"(?x)a\#", r"(?-x: )", r"a(?#c)*b", r"a(?#c", r"(?#a\)b)a", r"(?i)[Z-a]+", r"(?i)[^a]", r"(?i)[\W]", r"(?i)[A-Z]+",
    r"[]a]", r"[]]", r"[]-a]", r"[^]a]", r"[^]]", r"[]", r"[^]", r"[a", r"[[a]]", r"[[]", r"[[:alpha:]]", r"[[:alpha:]", r"[[.a.]]", r"[[=a=]]", r"[a[]", r"[a-]", r"[-a]", r"[a\-z]", r"[a-c-e]", r"[a-a]", r"[c-a]", r"[\d-z]", r"[a-\d]", r"[\w-]", r"[a--b]", r"[a--]", r"[--a]+", r"[a&&b]+", r"[a||b]+", r"[a~~b]+", r"[\b]", r"[\a]", r"\a", r"[\Z]", r"[\B]", r"[\A]", r"[^\W\d_]", r"[\D]", r"[\S]+", r"[^\s]+", r"\s", r"\S+", r"[\s]", r"[^^]a", r"[\^]a", r"[$]", r"a[$]", r"[.]", r"[(]", r"[a\]]+", r"[\]]", r"[\[a\]]+", r"[\\]", r"a[\\]b", r"[a-z-9]+", r"[\x61-\x63]+", r"[\141-\143]+", r"[\0]", r"[\08]", r"[\1]", r"[\8]", r"[\400]", r"[\377]", r"[\x00-\xff]+", r"[^\x00-\xff]+", r"[\u0061]", r"[\q]", r"[\N{DIGIT ONE}]",
    r"\x61", r"\x6", r"\x{61}", r"\u0061", r"\u006", r"\U00000061", r"\U0000006", r"\U00110000", r"\141", r"\07", r"\0", r"\00", r"\000", r"\08", r"\18", r"\1", r"(a)\1", r"(a)\2", r"(a)\01", r"(a)\10", r"(a)\141", r"(a)\1b", r"(a)(?:\1)", r"(a\1)", r"(a|b)\1", r"(ab)\1", r"(abc)\1", r"(?:(a)|b)\1", r"(?:(a)|b)*\1", r"(a)?\1", r"(a)*\1", r"(?i)(A)\1", r"(a)(?i:\1)", r"(a*)\1", r"(?=(a))\1b", r"(?!(b))a\1?", r"\400", r"\777", r"\9", r"\N{DIGIT ONE}", r"\N", r"\Q", r"\Qa\E", r"\C", r"\R", r"\X", r"\h", r"\H", r"\K", r"a\Kb", r"\G", r"\G a", r"\p{L}", r"\pL", r"\P{L}", r"\e", r"\ca", r"\o{141}", r"\g{1}", r"\k<a>", r"\l", r"\z", r"\-", r"\_", r"\ ", r"a\ b", r"\.", r"\/", r"a\\b", "\\", "a\\", r"\ab", r"\y", r"\i", r"\N{U+61}", r"\d", r"\D", r"\w+", r"\W", r"\v", r"\t", r"a\tb", r"\f", r"\r", r"\n",
    r"(?<=a)b", r"a(?<=a)b", r"a(?<!b)b", r"a(?<=a|ab)b", r"a(?<=a|b)b", r"ab(?<=a*b)", r"ab(?<=[ab]{2})", r"ab(?<=(?:a|ba)b)", r"(a)b(?<=\1b)", r"ab(?<=(a)b)\1", r"ab(?<=(a)\1)", r"(ab)(?<=(?=b)b)", r"(?<=)a", r"(?<=^)a", r"(?<=^a)b", r"a(?<=^a)b", r"a(?<=\ba)b", r"(?<a>a)", r"(?<", r"(?<!x)a", r"(?=a)ab?", r"(?=(ab?))a", r"(?!a)b", r"(?!)", r"(?=)a", r"(?:(?=a)a|b)+", r"(?=a(?=b))ab", r"(?=a",
    r"(a", r"a)", r")", r"(", r"(?:a", r"(?P<a>a)(?P<a>b)", r"(?P<1>a)", r"(?P<>a)", r"(?P<a b>a)", r"(?P=a)", r"(?P<a>a(?P=a))", r"(?P<a>a)(?P=b)", r"(?P>a)", r"(?R)", r"(?0)", r"(?1)", r"(?+1)", r"(?&a)", r"(?|a|b)", r"(?'a'a)", r"(?^a)", r"(?C)a", r"(*ACCEPT)", r"(*UTF)a", r"(*:a)a", r"(?{a})", r"(?!b)(?P<idx>a)", r"[\d\w]+", r"\d+|\D+", r"(?s:.*)(?m:$)", r"(?:a|b)(?:a|b)", r"(?:(?:(?:a)))b", r"a#b", r"a #b", r"(?i)\x41b", "a\x00", "\x00", "é", "[é]", r"\xe9|a", r"[a\xe9]", "a{65535}", "a{65536}", "a{1,70000}", "a|b|ab|ba",
]
SUFFIX = ["q_proj", "1.self_attn.q_proj", "(q|k)_proj", "k_proj)|(v_proj", "^model.*", "^x", "proj", ".*_proj", r"\d+.*up_proj", "(?i)q_proj", "(?i:Q)_proj", r"\1", r"(?P<a>q)_proj", r"(?!k)._proj", r"q_proj\Z", "q_proj$", "a|b", "", "#", r"(?<=self_attn\.)q_proj", r"(\w)_proj\2?", "(", "a)", "[", r"(?<!\.)proj", r"layers\.(?:0|11)\.mlp\.(?=up).*", "(?x: q_proj )"]
SUBTREE = ["lm_head", "embed_tokens", "mlp", "layers.1", "a|b", "(mlp|norm)", "norm$", "^model", r"(?!mlp)\w+", "", r"\1", "(?i)mlp", "(?i:MLP)", r"layers\.\d", "*", "self_attn|mlp", r"(?P<a>m)lp"]
LAYER = ["layers", "h", "lay.*", "model.layers", "layers|b", "", r"(?P<idx>a)", r"(?P<x>layers)", "(?i:LAYERS)", r"(?!x)\w+", r".*", r"\w+", "y", "b", "(a|layers)", r"\1", "layers$"]


def give_up(signal_number, frame):
    raise TimeoutError


def answer(frame, pattern):
    """None for a pattern that takes `re` for ever."""
    case = {"frame": frame, "pattern": pattern}
    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, 2)
    try:
        return match(frame, pattern, case)
    except TimeoutError:
        return None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def match(frame, pattern, case):
    try:
        matches = [FRAMES[frame](pattern, name) for name in NAMES]
    except (re.error, OverflowError) as error:
        return case | {"error": str(error)}
    if frame == "layer":
        return case | {"indices": {str(i): m["idx"] and int(m["idx"]) for i, m in enumerate(matches) if m}}
    return case | {"matches": [i for i, m in enumerate(matches) if m]}


class Grammar:
    """Patterns of chance, most of them valid, over the letters of the short names."""

    ATOMS = ["a", "b", "a", "b", "c", ".", r"\w", r"\W", r"\d", "[ab]", "[^a]", "[a-c]", r"\.", "model", "proj", r"\s"]
    PLACES = ["^", "$", r"\b", r"\B", r"\A", r"\Z"]
    REPEATS = ["*", "+", "?", "{2}", "{1,2}", "{,2}", "{2,}", "{,}", "{0}", "{"]

    def __init__(self, rng):
        self.rng = rng
        self.groups = 0

    def pattern(self):
        self.groups = 0
        flags = self.rng.choice([""] * 8 + ["(?i)", "(?m)", "(?s)", "(?x)"])
        return flags + self.alternatives(self.rng.choice((1, 2, 3)))

    def alternatives(self, depth):
        return "|".join(self.sequence(depth) for _ in range(self.rng.choice((1, 1, 1, 2, 3))))

    def sequence(self, depth):
        return "".join(self.item(depth) for _ in range(self.rng.choice((0, 1, 1, 2, 2, 3))))

    def item(self, depth):
        rng = self.rng
        if rng.random() < 0.08:
            return rng.choice(self.PLACES)
        text = self.group(depth - 1) if depth > 0 and rng.random() < 0.4 else rng.choice(self.ATOMS)
        if rng.random() < 0.1 and self.groups:
            text += "\\" + str(rng.randint(1, self.groups))
        if rng.random() < 0.35:
            text += rng.choice(self.REPEATS) + rng.choice(["", "", "", "?", "+"])
        return text

    def group(self, depth):
        rng = self.rng
        kind = rng.random()
        if kind < 0.4:
            opening = rng.choice(["(?:", "(?:", "(?>", "(?=", "(?!", "(?<=", "(?<!", "(?i:", "(?s:", "(?-i:", "(?m:"])
            return opening + self.alternatives(depth) + ")"
        if kind < 0.5 and self.groups:
            inner = self.sequence(depth) + rng.choice(["", "|" + self.sequence(depth)])
            return f"(?({rng.randint(1, self.groups)}){inner})"
        text = "(" + self.alternatives(depth) + ")"
        self.groups += 1
        return text


def main():
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser()
    parser.add_argument("--random", type=int, default=200)
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--output", type=pathlib.Path, default=OUTPUT)
    arguments = parser.parse_args()
    cases = []
    if arguments.output == OUTPUT:
        hand = {"full": FULL, "suffix": SUFFIX, "subtree": SUBTREE, "layer": LAYER}
        cases = [answer(frame, pattern) for frame, patterns in hand.items() for pattern in patterns]
    grammar = Grammar(random.Random(arguments.seed))
    while len(cases) < arguments.random + sum(map(len, (FULL, SUFFIX, SUBTREE, LAYER))) * (arguments.output == OUTPUT):
        frame = grammar.rng.choice(["full"] * 5 + ["suffix", "subtree", "layer"])
        case = answer(frame, grammar.pattern())
        if case:
            cases.append(case)
    head = {"python": ".".join(map(str, sys.version_info[:3])), "names": NAMES}
    lines = ",\n".join(json.dumps(case) for case in cases)
    arguments.output.write_text(json.dumps(head)[:-1] + ', "cases": [\n' + lines + "\n]}\n")
    print(f"{len(cases)} patterns, {sum('error' in case for case in cases)} of them refused by re")


if __name__ == "__main__":
    main()
