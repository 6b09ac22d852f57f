//! What can go wrong with a fetch, in the classes that the caller treats differently.

use super::address::Forbidden;
use std::error::Error;
use std::io;
use std::path::Path;
use std::time::Duration;

/// The numbers are `tk_fetch_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Kind {
    Invalid = 1,
    Forbidden = 2,
    NotFound = 3,
    TooLarge = 4,
    Source = 5,
    Full = 6,
    Cancelled = 7,
    Local = 8,
    Panic = 9,
}

#[derive(Debug, Clone)]
pub struct Failure {
    pub kind: Kind,
    /// Of the server's answer; 0 where there was none.
    pub http_status: u16,
    pub text: String,
    pub next: Next,
}

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    GiveUp,
    /// Try again, not before this time has passed.
    Retry(Duration),
    /// Try again, but not more than once: all bytes came, and they were wrong.
    RetryOnce,
    /// The files are of another version than their list: list them again.
    ListAgain,
}

pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, http_status: 0, text: text.into(), next: Next::GiveUp }
    }

    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, text)
    }

    pub fn source(text: impl Into<String>) -> Self {
        Self::new(Kind::Source, text)
    }

    /// A failure of the source that may pass.
    pub fn passing(text: impl Into<String>) -> Self {
        Self { next: Next::Retry(Duration::ZERO), ..Self::source(text) }
    }

    pub fn changed(what: &str) -> Self {
        Self {
            next: Next::ListAgain,
            ..Self::source(format!("{what} changed while it was being read"))
        }
    }

    /// The server answered, with a page for people.
    pub fn page(what: &str) -> Self {
        let text =
            format!("{what}: the answer is an HTML page, perhaps of a login; is a token missing?");
        Self { http_status: 200, ..Self::new(Kind::NotFound, text) }
    }

    pub fn is_page(&self) -> bool {
        self.kind == Kind::NotFound && self.http_status == 200
    }

    pub fn cancelled() -> Self {
        Self::new(Kind::Cancelled, "cancelled")
    }

    /// A refusal that the server put into a status.
    pub fn of_status(what: &str, status: u16, detail: &str, after: Option<Duration>) -> Self {
        let kind = match status {
            401 | 403 | 407 | 451 => Kind::Forbidden,
            404 | 410 => Kind::NotFound,
            _ => Kind::Source,
        };
        let passes = matches!(status, 408 | 425 | 429 | 500 | 502..=504);
        let next = if passes { Next::Retry(after.unwrap_or_default()) } else { Next::GiveUp };
        let separator = if detail.is_empty() { "" } else { ": " };
        Self {
            kind,
            http_status: status,
            text: format!("{what}: HTTP {status}{separator}{detail}"),
            next,
        }
    }

    /// An error of the HTTP client. Its own texts name the URL with everything that is secret in it, so
    /// only the innermost cause is told.
    pub fn of_client(what: &str, error: &(dyn Error + 'static), timed_out: bool) -> Self {
        let mut cause = error;
        loop {
            if let Some(forbidden) = cause.downcast_ref::<Forbidden>() {
                return Self::new(Kind::Forbidden, format!("{what}: {forbidden}"));
            }
            // An io::Error shows its inner error in its own text, not among its sources.
            let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            match inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| cause.source()) {
                Some(next) => cause = next,
                None => break,
            }
        }
        let text = if timed_out { "timed out".to_owned() } else { cause.to_string() };
        Self::passing(format!("{what}: {text}"))
    }

    pub fn of_file(path: &Path, error: &io::Error) -> Self {
        let full = matches!(
            error.raw_os_error(),
            Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG | libc::EMFILE | libc::ENFILE)
        );
        Self::new(
            if full { Kind::Full } else { Kind::Local },
            format!("{}: {error}", path.display()),
        )
    }
}
