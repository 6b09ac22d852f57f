//! Tokenizers, chat templates and fetching for the C++ side, as one static library.
//!
//! Owns:   the C interface declared in `textkit.h`; the crates behind it are seen nowhere else.
//! Thread: every object may be used from many threads at once; nothing changes after it is made.
//! Never:  unwinds into the caller, keeps a caller's buffer, or prints.

mod builtins;
mod chat;
mod data;
mod ffi;
mod growth;
mod guard;
#[cfg(test)]
mod hostile_test;
mod json;
mod meter;
#[cfg(feature = "net")]
mod net;
mod operators;
mod program;
mod python;
mod source;
mod strings;
mod template;
mod tokenizer;

use std::fmt;

/// What went wrong, in the classes that the caller treats differently. The numbers are `tk_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum Kind {
    Invalid = 1,
    Raised = 2,
    Limit = 3,
    Panic = 4,
}

#[derive(Debug)]
pub struct Error {
    pub kind: Kind,
    pub text: String,
}

impl Error {
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, text)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

pub type Result<T> = std::result::Result<T, Error>;
