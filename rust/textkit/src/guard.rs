//! A chat rendered so that typed text never becomes a special token.
//!
//! A template mixes its own text with the client's, and only the template's may become special
//! tokens. So the chat is rendered twice: as it is, and with every character of the client's that
//! may begin a special token replaced by a private twin. Where both texts agree but for the twins,
//! the twins say which characters were typed. A template may look into a message (to cut off a
//! reasoning part, say) and see twins where it seeks the original; then fewer are replaced.

use crate::chat::Chat;
use crate::template::Template;
use crate::{Error, Kind, Result};
use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A chat as the template wrote it.
pub struct Rendered {
    pub text: String,
    /// Byte positions in `text`, ascending, of typed characters that a special token may begin with;
    /// None: the client typed nothing that a special token begins with.
    pub typed: Option<Vec<u32>>,
}

impl Rendered {
    fn new(text: String, typed: Vec<usize>) -> Result<Self> {
        let typed: std::result::Result<_, _> = typed.into_iter().map(u32::try_from).collect();
        let typed =
            typed.map_err(|_| Error::new(Kind::Limit, "the chat has over 4 GiB of text"))?;
        Ok(Self { text, typed: Some(typed) })
    }
}

pub fn render(template: &Template, guard: &Guard, chat: &Chat) -> Result<Rendered> {
    let text = template.render(chat)?;
    let typed = guard.client_text(chat);
    // The template may join two strings into a token that neither of them is.
    if !typed.contains(|c| guard.first_chars.contains(&c)) {
        return Ok(Rendered { text, typed: None });
    }
    let Some(twins) = Twins::new(&guard.first_chars, &[&text, &typed]) else {
        return Err(Error::invalid("the messages use every character of private planes"));
    };
    let mut fallback = None;
    for reach in [Reach::FirstChars, Reach::Tokens, Reach::TokensButAssistant] {
        let twinned = guard.twin_chat(chat, &twins, reach);
        let Ok(rendered) = template.render(&twinned) else { continue };
        let (plain, positions) = twins.undo(&rendered);
        if reach == Reach::Tokens {
            fallback = Some((plain.clone(), positions.clone(), guard.num_tokens(&rendered)));
        }
        // What the assistant said may go by its tokens, but none of them may come out.
        let is_safe = reach != Reach::TokensButAssistant
            || fallback.as_ref().is_some_and(|(_, _, own)| *own == guard.num_tokens(&rendered));
        if plain == text && is_safe {
            return Rendered::new(text, positions);
        }
    }
    // The template acts on special tokens wherever they stand: it gets to see none that were typed.
    let Some((plain, positions, _)) = fallback else {
        return Err(Error::invalid(
            "a message contains the text of a special token, and the chat template fails without it",
        ));
    };
    Rendered::new(plain, positions)
}

/// How much of the client's text is replaced by twins.
#[derive(Clone, Copy, PartialEq)]
enum Reach {
    /// Every character that some special token begins with; tokens put together from parts of a
    /// message are covered as well.
    FirstChars,
    /// The first character of each special token.
    Tokens,
    /// The same, but what the assistant said before is left alone.
    TokensButAssistant,
}

/// The special tokens that nobody may type.
pub struct Guard {
    special: AhoCorasick,
    first_chars: BTreeSet<char>,
}

impl Guard {
    pub fn new(special: &[String]) -> Result<Self> {
        let first_chars = special.iter().filter_map(|token| token.chars().next()).collect();
        let special = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(special)
            .map_err(|e| Error::invalid(e.to_string()))?;
        Ok(Self { special, first_chars })
    }

    /// All strings of the client, one after the other.
    fn client_text(&self, chat: &Chat) -> String {
        let mut text = String::new();
        [&chat.messages, &chat.tools, &chat.documents]
            .into_iter()
            .chain(chat.variables.values())
            .for_each(|value| collect(value, &mut text));
        text
    }

    /// The special tokens of a text, each with how often it is there.
    fn num_tokens(&self, text: &str) -> BTreeMap<usize, usize> {
        let mut counts = BTreeMap::new();
        for found in self.special.find_iter(text) {
            *counts.entry(found.pattern().as_usize()).or_default() += 1;
        }
        counts
    }

    fn twin_chat(&self, chat: &Chat, twins: &Twins, reach: Reach) -> Chat {
        let mut chat = chat.clone();
        let values = [&mut chat.messages, &mut chat.tools, &mut chat.documents];
        // Of the variables the template knows the names.
        for value in values.into_iter().chain(chat.variables.values_mut()) {
            self.twin_value(value, twins, reach);
        }
        chat
    }

    fn twin_value(&self, value: &mut Value, twins: &Twins, reach: Reach) {
        match value {
            Value::String(text) if reach == Reach::FirstChars => *text = twins.apply(text),
            Value::String(text) => *text = self.twin_tokens(text, twins),
            Value::Array(items) => {
                items.iter_mut().for_each(|item| self.twin_value(item, twins, reach))
            }
            Value::Object(members) => {
                let assistant = members.get("role").is_some_and(|role| role == "assistant");
                if assistant && reach == Reach::TokensButAssistant {
                    return;
                }
                let old = std::mem::take(members);
                for (key, mut item) in old {
                    self.twin_value(&mut item, twins, reach);
                    members.insert(self.twin_tokens(&key, twins), item);
                }
            }
            _ => {}
        }
    }

    fn twin_tokens(&self, text: &str, twins: &Twins) -> String {
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        for found in self.special.find_iter(text) {
            out.push_str(&text[at..found.start()]);
            let token = &text[found.range()];
            let first = token.chars().next().map_or(0, char::len_utf8);
            out.push_str(&twins.apply(&token[..first]));
            out.push_str(&token[first..]);
            at = found.end();
        }
        out.push_str(&text[at..]);
        out
    }
}

fn collect(value: &Value, out: &mut String) {
    match value {
        Value::String(text) => out.push_str(text),
        Value::Array(items) => items.iter().for_each(|item| collect(item, out)),
        Value::Object(members) => members.iter().for_each(|(key, item)| {
            out.push_str(key);
            collect(item, out);
        }),
        _ => {}
    }
}

/// Private code points that stand for characters, each for one, and occur nowhere else.
struct Twins {
    originals: Vec<char>,
    first: u32,
}

impl Twins {
    fn new(originals: &BTreeSet<char>, texts: &[&str]) -> Option<Self> {
        const PLANES: std::ops::Range<u32> = 0xF0000..0x10FFFE;
        let originals: Vec<char> = originals.iter().copied().collect();
        let used: BTreeSet<u32> = texts
            .iter()
            .flat_map(|text| text.chars())
            .map(u32::from)
            .filter(|code| PLANES.contains(code))
            .collect();
        let count = originals.len() as u32;
        let mut first = PLANES.start;
        while first + count < PLANES.end {
            match used.range(first..first + count).next_back() {
                None => return Some(Self { originals, first }),
                Some(code) => first = code + 1,
            }
        }
        None
    }

    fn apply(&self, text: &str) -> String {
        text.chars()
            .map(|c| match self.originals.binary_search(&c) {
                Ok(index) => char::from_u32(self.first + index as u32).unwrap_or(c),
                Err(_) => c,
            })
            .collect()
    }

    /// The text with the originals back in place, and the byte positions where they are.
    fn undo(&self, text: &str) -> (String, Vec<usize>) {
        let mut out = String::with_capacity(text.len());
        let mut positions = Vec::new();
        for c in text.chars() {
            let index = (c as u32).wrapping_sub(self.first) as usize;
            match self.originals.get(index) {
                Some(original) => {
                    positions.push(out.len());
                    out.push(*original);
                }
                None => out.push(c),
            }
        }
        (out, positions)
    }
}
