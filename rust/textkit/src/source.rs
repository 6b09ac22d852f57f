//! A template's text made into what the engine reads as Jinja2 does in Hugging Face's environment.

/// - Ends of lines are "\n", whatever they were.
/// - `{% generation %}` marks what the model wrote, for training; for a text it is of no effect.
/// - `{% raw %}` keeps the newline behind it, and the spaces before an `{% endraw %}` on its line, which
///   the engine would take for a block's.
pub fn prepare(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some((before, tag)) = next_tag(rest) {
        out.push_str(before);
        rest = &rest[before.len()..];
        let raw = if tag.name() == "raw" { raw_block(&rest[tag.size()..]) } else { None };
        match (tag.name(), raw) {
            ("raw", Some((data, end))) if tag.close != "+" => {
                out.push_str(&format!("{{%{} if true %}}", tag.open));
                out.push_str(&literal(raw_text(data, tag.close == "-", end.open)));
                out.push_str(&format!("{{% endif {}%}}", end.close));
                rest = &rest[tag.size() + data.len() + end.size()..];
                continue;
            }
            ("generation", _) => tag.write("if true", &mut out),
            ("endgeneration", _) => tag.write("endif", &mut out),
            _ => out.push_str(&rest[..tag.size()]),
        }
        rest = &rest[tag.size()..];
    }
    out.push_str(rest);
    out
}

/// `{%- body +%}`
struct Tag<'a> {
    open: &'a str,
    body: &'a str,
    close: &'a str,
}

impl Tag<'_> {
    fn name(&self) -> &str {
        self.body.trim()
    }

    fn size(&self) -> usize {
        "{%%}".len() + self.open.len() + self.body.len() + self.close.len()
    }

    fn write(&self, name: &str, out: &mut String) {
        out.push_str(&format!("{{%{} {name} {}%}}", self.open, self.close));
    }
}

/// What stands before the next block tag, and the tag. Comments and expressions are passed over.
fn next_tag(text: &str) -> Option<(&str, Tag<'_>)> {
    let mut at = 0;
    loop {
        at += text[at..].find('{')?;
        let rest = &text[at..];
        let size = match rest.as_bytes().get(1) {
            Some(b'%') => return Some((&text[..at], tag_at(rest)?)),
            Some(b'#') => rest.find("#}")? + 2,
            Some(b'{') => 2 + end_of_code(&rest[2..], "}}")? + 2,
            _ => 1,
        };
        at += size;
    }
}

fn tag_at(text: &str) -> Option<Tag<'_>> {
    let inner = &text[2..][..end_of_code(&text[2..], "%}")?];
    let open = &inner[..usize::from(inner.starts_with(['+', '-']))];
    let inner = &inner[open.len()..];
    let close = &inner[inner.len() - usize::from(inner.ends_with(['+', '-']))..];
    Some(Tag { open, body: &inner[..inner.len() - close.len()], close })
}

/// Where code ends that begins here: outside of texts and brackets.
fn end_of_code(code: &str, end: &str) -> Option<usize> {
    let bytes = code.as_bytes();
    let mut depth = 0usize;
    let mut at = 0;
    while at < bytes.len() {
        if depth == 0 && code[at..].starts_with(end) {
            return Some(at);
        }
        match bytes[at] {
            quote @ (b'\'' | b'"') => {
                at += 1;
                while *bytes.get(at)? != quote {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
        while !code.is_char_boundary(at.min(code.len())) {
            at += 1;
        }
    }
    None
}

/// The text up to `{% endraw %}`, and that tag.
fn raw_block(text: &str) -> Option<(&str, Tag<'_>)> {
    let mut at = 0;
    loop {
        at += text[at..].find("{%")?;
        let inner = &text[at + 2..];
        let open = &inner[..usize::from(inner.starts_with(['+', '-']))];
        let name = inner[open.len()..].trim_start();
        if let Some(tail) = name.strip_prefix("endraw") {
            let tail = tail.trim_start();
            let close = &tail[..usize::from(tail.starts_with(['+', '-']))];
            if tail[close.len()..].starts_with("%}") {
                let body_end = inner.len() - tail.len();
                let body = &inner[open.len()..body_end];
                return Some((&text[..at], Tag { open, body, close }));
            }
        }
        at += 2;
    }
}

/// What a raw block writes.
fn raw_text<'a>(data: &'a str, trims_begin: bool, end_sign: &str) -> &'a str {
    let text = if trims_begin { data.trim_start() } else { data };
    match end_sign {
        "-" => text.trim_end(),
        "+" => text,
        _ => {
            // Spaces alone on the line of {% endraw %}.
            let line = text.rfind('\n').map_or(0, |newline| newline + 1);
            if line > 0 && text[line..].trim().is_empty() {
                &text[..line]
            } else {
                text
            }
        }
    }
}

fn literal(text: &str) -> String {
    format!("{{{{ \"{}\" }}}}", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blocks_are_changed() {
        for source in [
            "",
            "plain { text }",
            "{{ '{% raw %}' }}{# {% generation %} #}",
            "{{ {'a': {'b': '}}'}}['a'] }}",
            "{% if a == '%}' %}x{% endif %}",
            "{% raw %} without an end",
            "{% set a = {'é': \"\\\"%}\"} %}",
            "{{ unfinished",
            "{% unfinished 'text",
        ] {
            assert_eq!(prepare(source), source);
        }
    }

    #[test]
    fn raw_texts_are_kept_as_they_are() {
        let raw = |source: &str| prepare(source);
        assert_eq!(
            raw("{% raw %}\n{{ \"x\\n\" }}{% endraw %}"),
            "{% if true %}{{ \"\n{{ \\\"x\\\\n\\\" }}\" }}{% endif %}"
        );
        assert_eq!(
            raw("{%- raw -%}\n a \n {%- endraw -%}"),
            "{%- if true %}{{ \"a\" }}{% endif -%}"
        );
        assert_eq!(raw("{% raw %}  {% endraw %}"), "{% if true %}{{ \"  \" }}{% endif %}");
        assert_eq!(raw("{% raw %}a\n  {% endraw %}"), "{% if true %}{{ \"a\n\" }}{% endif %}");
        assert_eq!(raw("a\r\nb\rc"), "a\nb\nc");
    }

    #[test]
    fn generation_marks_are_of_no_effect() {
        assert_eq!(
            prepare("{%- generation %}a{% endgeneration -%}"),
            "{%- if true %}a{% endif -%}"
        );
    }
}
