"""What transformers and Jinja2 make of chats and of white space, for tests/data/text.

    pip install transformers==5.24.0 jinja2==3.1.6
    python tests/oracle/make_chat_goldens.py CHAT_TEMPLATES tests/data/text

`chat_parts.json`: for each template below CHAT_TEMPLATES which roles' contents of several parts it goes
through, and a digest of what transformers' renderer writes for each conversation: parts as they are where the
template goes through them, joined by newlines where it does not. `chat_refusals.json`: what they make of conversations
that many templates refuse, and of small templates that go wrong: a digest, or the error's type and text.
`white_space_cases.json`: small templates around raw blocks, line ends and white space control, and what Jinja2 writes.
"""

import copy
import datetime
import json
import pathlib
import random
import sys

import transformers.utils.chat_template_utils as chat_utils
from jinja2.exceptions import TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW_UNIX_S = 1767355200
ROLES = ("user", "system", "assistant", "tool")
CALL_ID = "c12345678"


class FixedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.fromtimestamp(NOW_UNIX_S, tz)


chat_utils.datetime = FixedClock


def parts(*texts):
    return [{"type": "text", "text": text} for text in texts]


def call(content, arguments, name="F7n"):
    function = {"name": name, "arguments": arguments}
    return {"role": "assistant", "content": content,
            "tool_calls": [{"id": CALL_ID, "type": "function", "function": function}]}  # fmt: skip


def result(content):
    return {"role": "tool", "tool_call_id": CALL_ID, "name": "F7n", "content": content}


def user(content):
    return {"role": "user", "content": content}


CONVERSATIONS = [
    [user(parts("One ", "two")), {"role": "assistant", "content": "three"}, user(parts("four\n", "", "five"))],
    [{"role": "system", "content": parts("Be ", "kind.")}, user("Six"),
     {"role": "assistant", "content": parts("seven ", "eight")}, user(parts("nine"))],
    [user("Call"), call(None, {"a": 1, "b": "é"}), result(parts("ten ", "eleven")), user([])],
    [{"role": "system", "content": "Plain."}, user(parts("a", "b")), call("", {}), result("twelve"),
     {"role": "assistant", "content": []}, user("thirteen")],
]  # fmt: skip


# Wrong orders, unknown roles, results and calls without what names them.
ODD_CONVERSATIONS = [
    [user("One"), user("two")],
    [{"role": "assistant", "content": "one"}, user("two")],
    [user("One"), {"role": "assistant", "content": "two"}, {"role": "assistant", "content": "three"}, user("four")],
    [{"role": "system", "content": "One."}, {"role": "system", "content": "Two."}, user("three")],
    [user("One"), {"role": "system", "content": "Two."}, user("three")],
    [{"role": "system", "content": "One."}],
    [user("One"), {"role": "assistant", "content": "two"}],
    [result("one"), user("two")],
    [user("One"), call("", {"a": 1}), user("two")],
    [user("One"), call("", {"a": 1}), {"role": "tool", "tool_call_id": "short", "content": "two"}, user("three")],
    [user("One"), call("", {"a": 1}), {"role": "tool", "content": "two"}, user("three")],
    [{"role": "narrator", "content": "One"}, user("two")],
    [user("One"), {"role": "function", "name": "f", "content": "two"}, user("three")],
    [user("One"), {"role": "developer", "content": "two"}, user("three")],
]  # fmt: skip

SMALL_MESSAGES = [user("One"), {"role": "assistant", "content": "two"}]
SMALL_TEMPLATES = [
    "{{ raise_exception('roles must alternate') }}",
    "{% for m in messages %}{% if m.role != 'user' %}{{ raise_exception('not ' ~ m.role) }}{% endif %}{% endfor %}",
    "{% if (messages[0].role == 'user') != (messages | length % 2 == 0) %}{{ raise_exception('order é') }}{% endif %}",
    "a{% if false %}{{ raise_exception('never') }}{% endif %}b",
    "{{ raise_exception('') }}", "{{ raise_exception() }}", "{{ raise_exception('a', 'b') }}",
    "{{ nothing }}", "{{ nothing.more }}", "{{ nothing['more'] }}", "{{ nothing() }}", "{{ nothing ~ 'a' }}",
    "{{ nothing + 'a' }}", "{{ nothing | length }}", "{{ nothing | upper }}", "{{ nothing | join }}", "{{ nothing | tojson }}",
    "{% for x in nothing %}{{ x }}{% endfor %}", "{{ nothing is defined }}", "{{ nothing == none }}", "{{ nothing > 1 }}",
    "{{ 'a' in nothing }}", "{{ nothing in 'a' }}", "{{ nothing[:1] }}", "{{ nothing | default('d') }}", "{{ not nothing }}",
    "{{ messages[0].nothing }}", "{{ messages[0].nothing.more }}", "{{ messages[0]['nothing']['more'] }}",
    "{{ messages[0].nothing() }}", "{{ messages[0].content.nothing }}", "{{ messages[0].content.nothing() }}",
    "{{ messages[0].content.strip().nothing.more }}", "{{ messages[0].nothing + 'a' }}", "{{ 'a' + messages[0].nothing }}",
    "{{ messages[0].nothing | trim }}", "{{ messages[0].nothing.split('x') }}", "{{ messages[9] }}", "{{ messages[9].role }}",
    "{{ messages[9]['role'] == 'user' }}", "{{ messages[-9].role }}", "{% for x in messages[0].nothing %}a{% endfor %}",
    "{% for x in messages[0].nothing.more %}a{% endfor %}", "{{ messages.nothing }}", "{{ messages.nothing.more }}",
    "{% set ns = namespace(a=1) %}{{ ns.b }}", "{% set ns = namespace(a=1) %}{{ ns.b.c }}",
    "{{ none.a }}", "{{ none.a.b }}", "{{ none[0] }}", "{{ none + 'a' }}", "{{ none | length }}", "{{ none() }}",
    "{% for x in none %}a{% endfor %}", "{{ true.a.b }}", "{{ 1 + 'a' }}", "{{ 'a' + 1 }}", "{{ 'a' * 'b' }}", "{{ [] + 'a' }}",
    "{{ 1 / 0 }}", "{{ 1 // 0 }}", "{{ 1 % 0 }}", "{{ 1 < 'a' }}", "{{ {} < {} }}", "{{ 'a'.b.c }}", "{{ 'a'[5] }}",
    "{{ 'a'[5].b }}", "{{ {'a': 1}.b }}", "{{ {'a': 1}.b.c }}", "{{ {'a': 1}['b']['c'] }}", "{{ [1][5] }}", "{{ [1][5].a }}",
    "{{ [1]['a'] }}", "{{ 5 | length }}", "{{ 'a' | int }}", "{{ 'a' | float }}", "{{ [] | first }}", "{{ ([] | first).a }}",
    "{{ ([] | last).a }}", "{{ messages | selectattr('nothing') | list | length }}",
    "{{ messages | map(attribute='nothing') | list | length }}", "{{ messages | map(attribute='nothing.more') | list | length }}",
    "{% for x in 5 %}a{% endfor %}", "{% for a, b in [1] %}a{% endfor %}", "{% set a, b = [1, 2, 3] %}", "{{ messages.append(1) }}",
    "{{ messages[0].update({'a': 1}) }}", "{{ messages[0].pop('role') }}", "{{ ''.__class__ }}", "{{ ''.__class__.mro() }}",
    "{{ range(1000000) | length }}", "{{ strftime_now() }}", "{{ namespace(1) }}", "{{ 'a'.join(5) }}", "{{ 'a'.join([1]) }}",
    "{{ 'a'.replace('a') }}", "{{ 'a'.startswith(1) }}", "{{ messages[0].items(1) }}", "{{ [1, 'a'] | sort }}", "{{ 5 | join }}",
    "{% macro f(a) %}{{ a.b }}{% endmacro %}{{ f() }}", "{% macro f(a) %}{{ a.b.c }}{% endmacro %}{{ f({}) }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(b=1) }}", "{{ loop.index }}",
    "{% for m in messages %}{{ loop.previtem.role }}{% endfor %}", "{% for m in messages %}{{ loop.nextitem.role }}{% endfor %}",
]  # fmt: skip


def render(source, messages):
    return chat_utils.render_jinja_template([messages], chat_template=source, add_generation_prompt=True,
                                            bos_token="<s>", eos_token="</s>")[0][0]  # fmt: skip


def outcome(source, messages, form):
    """The text in that form, or the error's type and text."""
    try:
        return form(render(source, messages))
    except Exception as error:  # whatever a template may raise is its refusal
        return {"error": type(error).__name__, "message": str(error)}


class Template:
    def __init__(self, source):
        self.source = source
        self.system = self.shows([{"role": "system", "content": "S7m"}, user("U7e")], "S7m", "U7e") or not self.shows(
            [user("U7e")], "U7e"
        )
        shows_object = self.shows([user("U7e"), call("", {"A7g": 1})], "A7g")
        shows_text = self.shows([user("U7e"), call("", '{"A7g": 1 }')], "A7g")
        self.argument_texts = shows_text and not shows_object
        arguments = '{"A7g": 1}' if self.argument_texts else {"A7g": 1}
        two = parts("P7a", "P7b")
        probes = {
            "user": [user(two)],
            "system": [{"role": "system", "content": two}, user("U7e")],
            "assistant": [user("U7e"), {"role": "assistant", "content": two}, user("U7e")],
            "tool": [user("U7e"), call("", arguments), result(two)],
        }
        self.parts = {role for role in ROLES if self.goes_through(probes[role])}
        self.null_contents = not self.shows_call("") and self.shows_call(None)

    def render(self, messages):
        try:
            return render(self.source, messages)
        except Exception:  # whatever a template may raise is its refusal
            return None

    def shows(self, messages, *marks):
        return self.shows_but_quoted(messages, marks, "'")

    def goes_through(self, messages):
        return self.shows_but_quoted(messages, ("P7a", "P7b"), "'\"")

    def shows_but_quoted(self, messages, marks, quotes):
        """Whether all marks come out, and not as part of a printed list or object alone."""

        def bare(mark):
            text = self.render(messages) or ""
            for quote in quotes:
                text = text.replace(quote + mark + quote, "")
            return mark in text

        return all(map(bare, marks))

    def shows_call(self, content):
        text = self.render([user("U7e"), call(content, {"A7g": 1})]) or ""
        return "F7n" in text and "None" not in text

    def adapted(self, conversation):
        messages = copy.deepcopy(conversation)
        for message in messages:
            if message["content"] in (None, []):
                message["content"] = ""
            role = message["role"] if message["role"] in ROLES else "user"
            if isinstance(message["content"], list) and role not in self.parts:
                message["content"] = "\n".join(part["text"] for part in message["content"])
            if "tool_calls" in message:
                if self.null_contents and message["content"] == "":
                    message["content"] = None
                function = message["tool_calls"][0]["function"]
                if self.argument_texts:
                    function["arguments"] = json.dumps(function["arguments"], ensure_ascii=False)
        if not self.system and messages[0]["role"] == "system":
            system = messages[0]["content"]
            if isinstance(system, list):
                system = "\n".join(part["text"] for part in system)
            if len(messages) == 1 or messages[1]["role"] != "user":
                messages[0] = user(system)
                return messages
            first = messages[1]
            if isinstance(first["content"], list):
                first["content"].insert(0, {"type": "text", "text": system + "\n"})
            else:
                first["content"] = system + "\n" + first["content"]
            messages = messages[1:]
        return messages


def digest(text):
    value = 0xCBF29CE484222325  # FNV-1a
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def chat_parts(root):
    templates = {}
    for path in sorted(root.rglob("*.jinja")):
        template = Template(path.read_text())
        texts = [template.render(template.adapted(conversation)) for conversation in CONVERSATIONS]
        templates[str(path.relative_to(root))] = {
            "parts": [role for role in ROLES if role in template.parts],
            "texts": [None if text is None else digest(text) for text in texts],
        }
    return {"versions": "transformers 5.24.0, jinja2 3.1.6", "now_unix_s": NOW_UNIX_S, "conversations": CONVERSATIONS,
            "templates": templates}  # fmt: skip


def chat_refusals(root):
    templates = {}
    for path in sorted(root.rglob("*.jinja")):
        template = Template(path.read_text())
        templates[str(path.relative_to(root))] = [
            outcome(template.source, template.adapted(conversation), digest)
            for conversation in CONVERSATIONS + ODD_CONVERSATIONS
        ]
    small = [{"template": source, "outcome": outcome(source, SMALL_MESSAGES, str)} for source in SMALL_TEMPLATES]
    return {"versions": "transformers 5.24.0, jinja2 3.1.6", "now_unix_s": NOW_UNIX_S,
            "conversations": CONVERSATIONS + ODD_CONVERSATIONS, "templates": templates,
            "small_messages": SMALL_MESSAGES, "small": small}  # fmt: skip


PIECES = [
    "a", "b ", "  ", "\n", "\n\n", "\r\n", "\r", "\t", " \n ", "{{ 'v' }}", "{{- 'v' -}}", "{{ '%}' }}", "{# c #}", "{#- c -#}",
    "{% if true %}", "{%- if true -%}", "{% endif %}", "{%- endif -%}", "{%+ if true +%}", "{% endif +%}",
    "{% raw %}", "{%- raw %}", "{% raw -%}", "{%- raw -%}", "{%+ raw %}", "{%raw%}",
    "{% endraw %}", "{%- endraw %}", "{% endraw -%}", "{%- endraw -%}", "{%+ endraw %}", "{% endraw +%}", "{%endraw%}",
    "{{ x", "}}", "\\", '"', "{% set y = '{% raw %}' %}", "{{ {'k': {'k': 1}}['k']['k'] }}",
]  # fmt: skip


def white_space_cases():
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    rng = random.Random(5)
    cases = []
    raw_begin = [piece for piece in PIECES if "raw" in piece and "end" not in piece and "set" not in piece]
    raw_end = [piece for piece in PIECES if "endraw" in piece]
    texts = [piece for piece in PIECES if "raw" not in piece and "if" not in piece]
    plain = [piece for piece in texts if piece not in ("{{ x", "}}")]
    while len(cases) < 400:
        out = []
        for _ in range(rng.randint(1, 3)):
            out += rng.choices(plain, k=rng.randint(0, 3))
            if rng.random() < 0.6:
                out += [rng.choice(raw_begin), *rng.choices(texts, k=rng.randint(0, 4)), rng.choice(raw_end)]
            else:
                blocks = ["{% if true %}", "{%- if true -%}", "{%+ if true +%}", "{% if true -%}"]
                ends = ["{% endif %}", "{%- endif -%}", "{% endif +%}", "{%+ endif %}"]
                out += [rng.choice(blocks), *rng.choices(plain, k=rng.randint(0, 3)), rng.choice(ends)]
            out += rng.choices(plain, k=rng.randint(0, 2))
        source = "".join(out)
        try:
            cases.append({"template": source, "expected": environment.from_string(source).render()})
        except TemplateSyntaxError:
            continue
    return {"versions": "jinja2 3.1.6", "cases": cases}


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    templates_dir, out_dir = map(pathlib.Path, sys.argv[1:])
    write(out_dir / "chat_parts.json", chat_parts(templates_dir))
    write(out_dir / "chat_refusals.json", chat_refusals(templates_dir))
    write(out_dir / "white_space_cases.json", white_space_cases())
