//! A chat rendered so that text of the client never becomes a special token, nor a part of one.
//!
//! A template mixes its own text with the client's, and only the template's may become special
//! tokens. So the chat is rendered twice: as it is, and with the client's characters that special
//! tokens have replaced by private twins. Where both texts agree but for the twins, the twins say
//! which characters were the client's. A template may look into a message (to cut off a reasoning
//! part, say) and see twins where it seeks the original; then fewer are replaced. Whatever is left, no
//! more special tokens may come out than with the most replaced: those are the template's own. A string
//! that goes on where a special token was begun is always replaced whole, since the template may begin it.
//!
//! Two kinds of the client's strings count as the template's: a role that every model has, and a word
//! that the template itself compares with or looks for. Numbers are not replaced.

use crate::chat::Chat;
use crate::program::Texts;
use crate::template::Template;
use crate::{Error, Kind, Result};
use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A chat as the template wrote it.
pub struct Rendered {
    pub text: String,
    /// Byte positions in `text`, ascending, of the client's characters that a special token may hold;
    /// None: no special token holds any of the client's.
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
    let may_begin = typed.contains(|c| guard.first_chars.contains(&c));
    // Or begin a token that the client's text ends.
    let may_join = guard.has_beginnings(template.texts().written());
    if !may_begin && !may_join {
        return Ok(Rendered { text, typed: None });
    }
    let Some(twins) = Twins::new(&guard.all_chars, &[&text, &typed]) else {
        return Err(Error::invalid("the messages use every character of private planes"));
    };
    let mut own = None;
    let mut fallback = None;
    let widest = if may_join { Reach::AllChars } else { Reach::FirstChars };
    for reach in [Reach::AllChars, Reach::FirstChars, Reach::Tokens, Reach::TokensButAssistant] {
        if reach < widest {
            continue;
        }
        let twinned = guard.twin_chat(chat, &twins, reach, template.texts());
        let Ok(rendered) = template.render(&twinned) else {
            if reach == widest {
                break; // what of its special tokens are its own cannot be told
            }
            continue;
        };
        let found = guard.num_tokens(&rendered);
        let own = own.get_or_insert_with(|| found.clone());
        let is_safe = match reach {
            // What the assistant said may go by its tokens, but none of them may come out.
            Reach::TokensButAssistant => found == *own,
            _ => found.iter().all(|(token, count)| own.get(token) >= Some(count)),
        };
        if !is_safe {
            continue;
        }
        let (plain, positions) = twins.undo(&rendered);
        if plain == text {
            if !may_begin && guard.num_tokens(&text) == found {
                return Ok(Rendered { text, typed: None });
            }
            return Rendered::new(text, positions);
        }
        if reach == Reach::Tokens {
            fallback = Some((plain, positions));
        }
    }
    // The template acts on special tokens wherever they stand: it gets to see none that were typed.
    let Some((plain, positions)) = fallback else {
        return Err(Error::invalid(
            "the chat template makes special tokens of this conversation's text, or fails without \
             those in it; only the template's own text may be special tokens",
        ));
    };
    Rendered::new(plain, positions)
}

/// How much of the client's text is replaced by twins, the most first.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Reach {
    /// Every character that some special token has; tokens put together from the template's text and
    /// the client's are covered as well.
    AllChars,
    /// Every character that some special token begins with; tokens put together from parts of a
    /// message are covered as well.
    FirstChars,
    /// The first character of each special token.
    Tokens,
    /// The same, but what the assistant said before is left alone.
    TokensButAssistant,
}

/// Templates write them between marks: "<|" + role + "|>".
const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

/// The special tokens that nobody may type.
pub struct Guard {
    special: AhoCorasick,
    first_chars: BTreeSet<char>,
    /// White space only where a token begins with it: templates trim.
    all_chars: BTreeSet<char>,
    /// All special tokens, each after a character that none has.
    tokens: String,
    /// What is left of each after some of its characters, by its first one.
    rests: BTreeMap<char, BTreeSet<String>>,
}

impl Guard {
    pub fn new(special: &[String]) -> Result<Self> {
        let first_chars: BTreeSet<char> =
            special.iter().filter_map(|token| token.chars().next()).collect();
        let inner = special.iter().flat_map(|token| token.chars()).filter(|c| !c.is_whitespace());
        let all_chars = first_chars.iter().copied().chain(inner).collect();
        let tokens = special.iter().flat_map(|token| ["\0", token]).collect();
        let mut rests: BTreeMap<char, BTreeSet<String>> = BTreeMap::new();
        for token in special {
            for (at, first) in token.char_indices().skip(1) {
                rests.entry(first).or_default().insert(token[at..].to_string());
            }
        }
        let special = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(special)
            .map_err(|e| Error::invalid(e.to_string()))?;
        Ok(Self { special, first_chars, all_chars, tokens, rests })
    }

    /// Whether a text has what special tokens begin with outside of whole ones.
    fn has_beginnings(&self, text: &str) -> bool {
        let mut at = 0;
        let has = |part: &str| part.contains(|c| self.first_chars.contains(&c));
        for found in self.special.find_iter(text) {
            if has(&text[at..found.start()]) {
                return true;
            }
            at = found.end();
        }
        has(&text[at..])
    }

    /// Whether a special token that the template has begun would go on with all of this text, or end in it.
    fn goes_on(&self, text: &str) -> bool {
        let text = text.trim();
        let Some(first) = text.chars().next() else { return false };
        let ends = |rests: &BTreeSet<String>| rests.iter().any(|rest| text.starts_with(&**rest));
        self.tokens.contains(text) || self.rests.get(&first).is_some_and(ends)
    }

    /// What the template knows is its own, though the client sent it.
    fn is_templates(&self, text: &str, texts: &Texts) -> bool {
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
        text.chars().all(is_word) && texts.has_word(text) && !self.special.is_match(text)
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

    fn twin_chat(&self, chat: &Chat, twins: &Twins, reach: Reach, texts: &Texts) -> Chat {
        let mut chat = chat.clone();
        let values = [&mut chat.messages, &mut chat.tools, &mut chat.documents];
        // Of the variables the template knows the names.
        for value in values.into_iter().chain(chat.variables.values_mut()) {
            self.twin_value(value, twins, reach, texts);
        }
        chat
    }

    fn twin_value(&self, value: &mut Value, twins: &Twins, reach: Reach, texts: &Texts) {
        match value {
            Value::String(text) => *text = self.twin_text(text, twins, reach, texts),
            Value::Array(items) => {
                items.iter_mut().for_each(|item| self.twin_value(item, twins, reach, texts))
            }
            Value::Object(members) => {
                let role = members.get("role").and_then(Value::as_str);
                if role == Some("assistant") && reach == Reach::TokensButAssistant {
                    return;
                }
                let keeps_role = role.is_some_and(|role| ROLES.contains(&role));
                let old = std::mem::take(members);
                for (key, mut item) in old {
                    if !(keeps_role && key == "role") {
                        self.twin_value(&mut item, twins, reach, texts);
                    }
                    let key = match reach {
                        Reach::FirstChars if !self.goes_on(&key) => self.twin_tokens(&key, twins),
                        _ => self.twin_text(&key, twins, reach, texts),
                    };
                    members.insert(key, item);
                }
            }
            _ => {}
        }
    }

    fn twin_text(&self, text: &str, twins: &Twins, reach: Reach, texts: &Texts) -> String {
        let is_whole = reach == Reach::AllChars || self.goes_on(text);
        match reach {
            _ if is_whole && self.is_templates(text, texts) => text.to_string(),
            _ if is_whole => twins.apply(text, &self.all_chars),
            Reach::AllChars | Reach::FirstChars => twins.apply(text, &self.first_chars),
            Reach::Tokens | Reach::TokensButAssistant => self.twin_tokens(text, twins),
        }
    }

    fn twin_tokens(&self, text: &str, twins: &Twins) -> String {
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        for found in self.special.find_iter(text) {
            out.push_str(&text[at..found.start()]);
            let token = &text[found.range()];
            let first = token.chars().next().map_or(0, char::len_utf8);
            out.push_str(&twins.apply(&token[..first], &self.first_chars));
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

    fn apply(&self, text: &str, chars: &BTreeSet<char>) -> String {
        let twin = |c| {
            let index = self.originals.binary_search(&c).ok().filter(|_| chars.contains(&c))?;
            char::from_u32(self.first + index as u32)
        };
        text.chars().map(|c| twin(c).unwrap_or(c)).collect()
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
