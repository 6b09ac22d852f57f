//! How much longer a tokenizer may make a text before it cuts it: a bound from its file, by which texts
//! are refused before anything is allocated. What adapters bring runs in a process with limits instead.

use crate::{Error, Result};
use tokenizers::NormalizerWrapper;

/// U+FDFA: 3 bytes become 33.
const COMPATIBILITY: u64 = 11;
/// U+0390: 2 bytes become 6.
const CANONICAL: u64 = 3;
/// U+023A: 2 bytes become 3; two, since bounds are whole.
const LOWERCASE: u64 = 2;
/// A byte that is no printable character stands as a character of two.
const BYTE_LEVEL: u64 = 2;
/// A space on both sides of a Chinese character, which has 3 bytes.
const SPACED: u64 = 2;

/// Of the text of a tokenizer.json: no n bytes become more than (n + 1) times this by its normalizer.
pub fn growth(json: &str) -> Result<u64> {
    #[derive(serde::Deserialize)]
    struct File {
        normalizer: Option<NormalizerWrapper>,
    }
    let file: File = serde_json::from_str(json).map_err(|e| Error::invalid(e.to_string()))?;
    Ok(file.normalizer.as_ref().map_or(1, of))
}

fn of(normalizer: &NormalizerWrapper) -> u64 {
    use NormalizerWrapper as N;
    match normalizer {
        N::Sequence(steps) => steps.as_ref().iter().map(of).fold(1, u64::saturating_mul),
        N::Replace(step) => replace(step),
        N::Prepend(step) => 1 + step.prepend.len() as u64,
        N::BertNormalizer(_) => SPACED * CANONICAL * LOWERCASE,
        // A table that the model's makers compiled: as a rule NFKC and a little more.
        N::NFKC(_) | N::NFKD(_) | N::Precompiled(_) => COMPATIBILITY,
        N::NFC(_) | N::NFD(_) => CANONICAL,
        N::Lowercase(_) => LOWERCASE,
        N::ByteLevel(_) => BYTE_LEVEL,
        N::StripNormalizer(_) | N::StripAccents(_) | N::Nmt(_) => 1,
    }
}

fn replace(step: &tokenizers::normalizers::Replace) -> u64 {
    let size = step.content.len();
    let written = serde_json::to_value(step).unwrap_or_default();
    let growth = match written["pattern"]["String"].as_str() {
        Some(pattern) if !pattern.is_empty() => size.div_ceil(pattern.len()).max(1),
        // A pattern may match nothing, before every byte.
        _ => size + 1,
    };
    growth as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grows(normalizer: &str) -> u64 {
        growth(&format!(r#"{{"model": {{}}, "normalizer": {normalizer}}}"#)).unwrap()
    }

    #[test]
    fn bounds_are_those_of_the_steps_multiplied() {
        let double = r#"{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}"#;
        let spaces = r#"{"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}"#;
        let llama = r#"{"type": "Replace", "pattern": {"String": " "}, "content": "▁"}"#;
        let prepend = r#"{"type": "Prepend", "prepend": "▁"}"#;
        let sequence = |steps: &[&str]| {
            format!(r#"{{"type": "Sequence", "normalizers": [{}]}}"#, steps.join(","))
        };
        assert_eq!(grows("null"), 1);
        assert_eq!(grows(double), 2);
        assert_eq!(grows(spaces), 2);
        assert_eq!(grows(&sequence(&[prepend, llama])), 12);
        assert_eq!(grows(&sequence(&[double; 34])), 1 << 34);
        assert_eq!(grows(&sequence(&[double; 80])), u64::MAX);
        assert_eq!(grows(&sequence(&[r#"{"type": "NFKC"}"#, &sequence(&[llama])])), 33);
        assert!(growth("{").is_err());
    }
}
