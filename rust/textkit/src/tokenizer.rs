//! A Hugging Face tokenizer and the table of what each of its ids adds to a text.
//!
//! The pieces of the pipeline are called one by one here (find added tokens, normalize, split,
//! model, post-process) where the crate's own `encode` has no way to say which texts may become
//! special tokens.

use crate::guard::Guard;
use crate::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;
use tokenizers::normalizer::Range;
use tokenizers::tokenizer::{Model, Normalizer, PostProcessor, PreTokenizer};
use tokenizers::{
    AddedToken, AddedVocabulary, DecoderWrapper, Encoding, OffsetReferential, OffsetType,
    PostProcessorWrapper, PreTokenizedString, Token,
};

pub const ADD_SPECIAL: u32 = 1;
pub const PARSE_SPECIAL: u32 = 2;

const EXISTS: u8 = 1;
const SPECIAL: u8 = 2;
const ADDED: u8 = 4;

/// Ids are rows of the embedding, so tables are made for all of them: 16 times the largest
/// vocabulary in use today is refused before it takes memory.
const MAX_VOCAB: u32 = 1 << 22;

/// Of the text that one token stands for, and that all together do: a decoder may make much of little.
const MAX_TOKEN_BYTES: usize = 1 << 20;
const MAX_TABLE_BYTES: usize = 128 << 20;

pub struct Vocab {
    pub bytes: Vec<u8>,
    pub offsets: Vec<u32>,
    pub flags: Vec<u8>,
    pub strip_space: bool,
}

pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The same added tokens, of which special ones are not looked for.
    added_plain: AddedVocabulary,
    /// Contents of the special tokens.
    special: Vec<String>,
    guard: OnceLock<Guard>,
    /// Crate's id to the file's id, for added tokens that the crate numbers anew (it knows no gaps).
    renumbered: HashMap<u32, u32>,
    vocab: Vocab,
}

/// An added token as tokenizer.json lists them, of which other flags are left to the crate.
#[derive(serde::Deserialize)]
struct AddedTokenId {
    id: u32,
    content: String,
}

/// An added token as tokenizer_config.json lists them under its id.
#[derive(serde::Deserialize)]
#[serde(default)]
#[derive(Default)]
struct MoreToken {
    content: String,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    special: bool,
}

#[derive(serde::Deserialize)]
struct AddedTokens {
    #[serde(default)]
    added_tokens: Vec<AddedTokenId>,
}

fn failed(e: impl std::fmt::Display) -> Error {
    Error::invalid(e.to_string())
}

impl Tokenizer {
    pub fn new(json: &str, more_tokens: &str) -> Result<Self> {
        let mut inner: tokenizers::Tokenizer = json.parse().map_err(failed)?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(failed)?;
        let AddedTokens { added_tokens: mut added } = serde_json::from_str(json).map_err(failed)?;
        added.extend(add_more_tokens(&mut inner, more_tokens)?);

        let mut added_plain = inner.get_added_vocabulary().clone();
        added_plain.set_encode_special_tokens(true);
        let special = inner
            .get_added_vocabulary()
            .get_added_tokens_decoder()
            .values()
            .filter(|token| token.special && !token.content.is_empty())
            .map(|token| token.content.clone())
            .collect();
        let renumbered = renumber(&inner, &added)?;
        let vocab = Vocab::new(&inner, &renumbered)?;
        Ok(Self { inner, added_plain, special, guard: OnceLock::new(), renumbered, vocab })
    }

    pub fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    pub fn special_tokens(&self) -> &[String] {
        &self.special
    }

    /// Made for the first chat: most tokenizers of adapters never see one.
    pub fn guard(&self) -> Result<&Guard> {
        if let Some(guard) = self.guard.get() {
            return Ok(guard);
        }
        let made = Guard::new(&self.special)?;
        Ok(self.guard.get_or_init(|| made))
    }

    pub fn token_id(&self, name: &str) -> Option<u32> {
        self.inner.token_to_id(name).map(|id| self.file_id(id))
    }

    fn file_id(&self, id: u32) -> u32 {
        self.renumbered.get(&id).copied().unwrap_or(id)
    }

    pub fn encode(&self, text: &str, add_special: bool, parse_special: bool) -> Result<Vec<u32>> {
        let added =
            if parse_special { self.inner.get_added_vocabulary() } else { &self.added_plain };
        let pieces = added.extract_and_normalize(self.inner.get_normalizer(), text);
        self.finish(pieces, add_special)
    }

    /// Encodes `text`, in which no special token has one of the characters at the byte positions `typed`
    /// (ascending): those stretches are tokenized as the text they are.
    pub fn encode_typed(&self, text: &str, typed: &[u32]) -> Result<Vec<u32>> {
        let typed: Vec<usize> = typed.iter().map(|&position| position as usize).collect();
        let ascending = typed.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascending || typed.iter().any(|&at| at >= text.len() || !text.is_char_boundary(at)) {
            return Err(Error::invalid("a typed position is not the start of a character"));
        }
        let typed = typed.as_slice();
        let cuts = self.added_token_cuts(text, typed);
        let mut pieces = PreTokenizedString::from(text);
        pieces
            .split(|_, whole| {
                let mut parts = Vec::with_capacity(2 * cuts.len() + 1);
                let mut part = |start: usize, end: usize, tokens: Option<Vec<Token>>| {
                    if let Some(slice) = whole.slice(Range::Original(start..end)) {
                        parts.push((slice, tokens));
                    }
                };
                let mut at = 0;
                for (start, end, token) in &cuts {
                    part(at, *start, None);
                    part(*start, *end, Some(vec![token.clone()]));
                    at = *end;
                }
                part(at, text.len(), None);
                Ok(parts)
            })
            .map_err(failed)?;
        if let Some(normalizer) = self.inner.get_normalizer() {
            pieces.normalize(|piece| normalizer.normalize(piece)).map_err(failed)?;
        }
        self.finish(pieces, false)
    }

    /// Where added tokens stand in `text`. Special ones with a `typed` position in them are
    /// hidden by a filler of the same length and the search is done again, as one of them may have
    /// covered a token that counts.
    fn added_token_cuts(&self, text: &str, typed: &[usize]) -> Vec<(usize, usize, Token)> {
        const MAX_ROUNDS: usize = 8;
        let mut masked = text.to_string();
        for round in 0..=MAX_ROUNDS {
            let pieces = self
                .inner
                .get_added_vocabulary()
                .extract_and_normalize(self.inner.get_normalizer(), &masked);
            let mut cuts = Vec::new();
            let mut hide = Vec::new();
            for (_, (start, end), tokens) in
                pieces.get_splits(OffsetReferential::Original, OffsetType::Byte)
            {
                let Some(token) = tokens.as_ref().and_then(|tokens| tokens.first()) else {
                    continue;
                };
                // A token that strips to its left takes white space along.
                let matched = &masked[start..end];
                let content = start + (matched.len() - matched.trim_start().len());
                let content_end = start + matched.trim_end().len();
                let next_typed = typed.get(typed.partition_point(|at| *at < content));
                match next_typed.filter(|at| **at < content_end && self.is_special(token.id)) {
                    Some(at) => hide.push(*at),
                    None => cuts.push((start, end, token.clone())),
                }
            }
            if hide.is_empty() {
                return cuts;
            }
            if round + 1 == MAX_ROUNDS {
                hide = typed.to_vec();
            }
            masked = mask(&masked, &hide);
        }
        Vec::new()
    }

    fn is_special(&self, id: u32) -> bool {
        self.vocab.flags[self.file_id(id) as usize] & SPECIAL != 0
    }

    fn finish(&self, mut pieces: PreTokenizedString, add_special: bool) -> Result<Vec<u32>> {
        if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut pieces).map_err(failed)?;
        }
        // The crate's own way makes lists of all tokens, of which only the ids are wanted.
        let mut ids = Vec::new();
        for (text, _, tokens) in pieces.get_splits(OffsetReferential::Original, OffsetType::Byte) {
            match tokens {
                Some(tokens) => ids.extend(tokens.iter().map(|token| token.id)),
                None => {
                    let tokens = self.inner.get_model().tokenize(text).map_err(failed)?;
                    ids.extend(tokens.iter().map(|token| token.id));
                }
            }
        }
        drop(pieces);
        let mut ids = match self.inner.get_post_processor() {
            Some(processor) if add_special => post_process(processor, ids)?,
            _ => ids,
        };
        if !self.renumbered.is_empty() {
            ids.iter_mut().for_each(|id| *id = self.file_id(*id));
        }
        Ok(ids)
    }

    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        let to_crate: HashMap<u32, u32> = self.renumbered.iter().map(|(k, v)| (*v, *k)).collect();
        let ids: Vec<u32> = ids.iter().map(|id| to_crate.get(id).copied().unwrap_or(*id)).collect();
        self.inner.decode(&ids, skip_special).map_err(failed)
    }
}

/// What a post-processor puts around a text, which it never looks into: it gets one token, whose id no
/// other has, in the text's place.
fn post_process(processor: &PostProcessorWrapper, ids: Vec<u32>) -> Result<Vec<u32>> {
    const TEXT: u32 = u32::MAX;
    let text = Encoding::from_tokens(vec![Token::new(TEXT, "x".into(), (0, 1))], 0);
    let around = processor.process(text, None, true).map_err(failed)?;
    let mut out = Vec::with_capacity(ids.len() + around.len());
    for id in around.get_ids() {
        match *id {
            TEXT => out.extend_from_slice(&ids),
            id => out.push(id),
        }
    }
    Ok(out)
}

/// `text` with the character at each of the byte positions replaced by one that no token has, of
/// the same length in UTF-8.
fn mask(text: &str, positions: &[usize]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for &position in positions {
        let Some(c) = text[position..].chars().next() else { continue };
        out.push_str(&text[at..position]);
        out.push(['\u{1}', '\u{80}', '\u{F8FF}', '\u{10FFFF}'][c.len_utf8() - 1]);
        at = position + c.len_utf8();
    }
    out.push_str(&text[at..]);
    out
}

/// Adds the tokens that only tokenizer_config.json knows.
fn add_more_tokens(inner: &mut tokenizers::Tokenizer, json: &str) -> Result<Vec<AddedTokenId>> {
    if json.is_empty() {
        return Ok(Vec::new());
    }
    let more: BTreeMap<u32, MoreToken> = serde_json::from_str(json)
        .map_err(|e| Error::invalid(format!("added_tokens_decoder: {e}")))?;
    let known = inner.get_added_vocabulary().get_vocab().clone();
    let mut added = Vec::new();
    for (id, token) in more {
        if known.contains_key(&token.content) {
            continue;
        }
        let new = AddedToken::from(token.content.as_str(), token.special)
            .single_word(token.single_word)
            .lstrip(token.lstrip)
            .rstrip(token.rstrip)
            .normalized(token.normalized);
        inner.add_tokens([new]).map_err(failed)?;
        added.push(AddedTokenId { id, content: token.content });
    }
    Ok(added)
}

/// The crate numbers added tokens one after the other; a file may leave gaps. The file is right.
fn renumber(inner: &tokenizers::Tokenizer, added: &[AddedTokenId]) -> Result<HashMap<u32, u32>> {
    let model = inner.get_model();
    let mut renumbered = HashMap::new();
    for token in added {
        let Some(id) = inner.token_to_id(&token.content) else { continue };
        if id == token.id || model.token_to_id(&token.content).is_some() {
            continue;
        }
        if model.id_to_token(token.id).is_some() {
            return Err(Error::invalid(format!(
                "added_tokens: '{}' has the id {} of a token of the model (added tokens are those of \
                 tokenizer.json and of the tokenizer_config.json beside it; an adapter without one \
                 has the base's)",
                token.content, token.id
            )));
        }
        renumbered.insert(id, token.id);
    }
    Ok(renumbered)
}

impl Vocab {
    fn new(inner: &tokenizers::Tokenizer, renumbered: &HashMap<u32, u32>) -> Result<Self> {
        let decoding = Decoding::of(inner.get_decoder())?;
        let to_crate: HashMap<u32, u32> = renumbered.iter().map(|(k, v)| (*v, *k)).collect();
        let added = inner.get_added_vocabulary();
        let ids = inner.get_vocab(true).into_values();
        let max = ids.map(|id| renumbered.get(&id).copied().unwrap_or(id)).max();
        let Some(max) = max else {
            return Err(Error::invalid("the vocabulary is empty"));
        };
        if max >= MAX_VOCAB {
            return Err(Error::invalid(format!(
                "a token has the id {max}; the limit is {MAX_VOCAB} ids"
            )));
        }
        let mut vocab = Self {
            bytes: Vec::new(),
            offsets: Vec::with_capacity(max as usize + 2),
            flags: Vec::with_capacity(max as usize + 1),
            strip_space: decoding.strip_space,
        };
        vocab.offsets.push(0);
        for id in 0..=max {
            let id = to_crate.get(&id).copied().unwrap_or_else(|| match renumbered.get(&id) {
                Some(_) => u32::MAX, // the crate's number of a token that has another in the file
                None => id,
            });
            let mut flags = 0;
            if let Some(piece) = inner.id_to_token(id) {
                decoding.append(&piece, &mut vocab.bytes)?;
                flags |= EXISTS;
                if let Some(token) = added.get_added_tokens_decoder().get(&id) {
                    flags |= ADDED | if token.special { SPECIAL } else { 0 };
                }
            }
            if vocab.bytes.len() > MAX_TABLE_BYTES {
                return Err(Error::invalid(format!(
                    "the tokens together stand for over {} MiB of text",
                    MAX_TABLE_BYTES >> 20
                )));
            }
            vocab.offsets.push(vocab.bytes.len() as u32);
            vocab.flags.push(flags);
        }
        Ok(vocab)
    }
}

/// How the file's decoder turns tokens into text, for decoders where each token adds its own bytes
/// whatever stands beside it: those of all language models in use.
struct Decoding {
    steps: Vec<Step>,
    strip_space: bool,
}

enum Step {
    ByteLevel,
    ByteFallback,
    Replace(tokenizers::normalizers::Replace),
    Metaspace(char),
    SpaceBefore,
}

impl Decoding {
    fn of(decoder: Option<&DecoderWrapper>) -> Result<Self> {
        let mut decoding = Self { steps: Vec::new(), strip_space: false };
        match decoder {
            Some(decoder) => decoding.add(decoder)?,
            // Without a decoder tokens are words with a space between them.
            None => {
                decoding.steps.push(Step::SpaceBefore);
                decoding.strip_space = true;
            }
        }
        Ok(decoding)
    }

    fn add(&mut self, decoder: &DecoderWrapper) -> Result<()> {
        match decoder {
            DecoderWrapper::ByteLevel(_) => self.steps.push(Step::ByteLevel),
            DecoderWrapper::ByteFallback(_) => self.steps.push(Step::ByteFallback),
            DecoderWrapper::Replace(replace) => self.steps.push(Step::Replace(replace.clone())),
            DecoderWrapper::Fuse(_) => {}
            DecoderWrapper::Metaspace(metaspace) => {
                self.steps.push(Step::Metaspace(metaspace.get_replacement()));
                self.strip_space |= metaspace.get_prepend_scheme()
                    != tokenizers::pre_tokenizers::metaspace::PrependScheme::Never;
            }
            DecoderWrapper::Strip(strip)
                if strip.content == ' ' && strip.start <= 1 && strip.stop == 0 =>
            {
                self.strip_space |= strip.start == 1;
            }
            DecoderWrapper::Sequence(sequence) => {
                for decoder in sequence.get_decoders() {
                    self.add(decoder)?;
                }
            }
            DecoderWrapper::Strip(_)
            | DecoderWrapper::BPE(_)
            | DecoderWrapper::WordPiece(_)
            | DecoderWrapper::CTC(_) => {
                let name = serde_json::to_value(decoder).map_err(failed)?;
                return Err(Error::invalid(format!(
                    "decoder {name} is not supported; supported are ByteLevel, ByteFallback, \
                     Replace, Fuse, Metaspace, Strip of one leading space, and sequences of these"
                )));
            }
        }
        Ok(())
    }

    fn append(&self, piece: &str, out: &mut Vec<u8>) -> Result<()> {
        let mut text = piece.to_string();
        for step in &self.steps {
            match step {
                Step::ByteLevel => {
                    out.extend(byte_level(&text));
                    return Ok(());
                }
                Step::ByteFallback => {
                    if let Some(byte) = fallback_byte(&text) {
                        out.push(byte);
                        return Ok(());
                    }
                }
                Step::Replace(replace) => {
                    use tokenizers::Decoder;
                    let places = text.len() + 1;
                    let most = places.saturating_mul(replace.content.len()) + text.len();
                    if most > MAX_TOKEN_BYTES {
                        return Err(Error::invalid(format!(
                            "the decoder makes over {} KiB of one token",
                            MAX_TOKEN_BYTES >> 10
                        )));
                    }
                    text = replace.decode_chain(vec![text]).map_err(failed)?.concat();
                }
                Step::Metaspace(mark) => text = text.replace(*mark, " "),
                Step::SpaceBefore => text.insert(0, ' '),
            }
        }
        out.extend(text.bytes());
        Ok(())
    }
}

fn fallback_byte(text: &str) -> Option<u8> {
    let hex = text.strip_prefix("<0x")?.strip_suffix('>')?;
    if hex.len() != 2 {
        return None;
    }
    u8::from_str_radix(hex, 16).ok()
}

/// GPT-2's printable stand-ins back to bytes; a token with any other character is itself.
fn byte_level(text: &str) -> Vec<u8> {
    let bytes: Option<Vec<u8>> = text.chars().map(byte_level_byte).collect();
    bytes.unwrap_or_else(|| text.as_bytes().to_vec())
}

/// Printable bytes stand for themselves; the other 68 were given U+0100 and up in order.
fn byte_level_byte(c: char) -> Option<u8> {
    let printable = |b: u32| matches!(b, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let code = c as u32;
    if code < 0x100 {
        return printable(code).then_some(code as u8);
    }
    let others = (0..0x100).filter(|b| !printable(*b)).nth((code - 0x100) as usize)?;
    Some(others as u8)
}
