//! Where files come from: plain HTTP or an object store. Describes files and opens them at an offset.

use super::checksum::Checksum;
use super::failure::{Failure, Kind, Result};
use super::files::{archive_suffix, RemoteFile, CONFIG};
use super::http::{header, shown, Ask, Http};
use super::pace::Pace;
use super::store::{Opened, Store};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::StreamExt;
use reqwest::header::{
    HeaderMap, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED,
};
use reqwest::{Response, Url};
use std::time::Duration;

pub enum Origin<'a> {
    Http(HttpOrigin<'a>),
    Store(Store<'a>),
}

pub struct HttpOrigin<'a> {
    pub http: &'a Http,
    pub token: &'a str,
    /// The operator's endpoint, if these files are behind one.
    pub trusted: Option<&'a Url>,
}

/// The bytes of a file from `start` on.
pub struct Body<'a> {
    pub start: u64,
    /// Length of the whole file, as far as the source says.
    pub total: Option<u64>,
    /// Of the whole file; only where it comes from its beginning.
    pub checksum: Option<Checksum>,
    what: String,
    pace: Pace,
    chunks: Chunks<'a>,
}

enum Chunks<'a> {
    Http(&'a Http, Response),
    Store(Duration, BoxStream<'static, object_store::Result<Bytes>>),
}

impl Origin<'_> {
    /// What messages call a location.
    pub fn shown(&self, location: &str) -> String {
        match self {
            Self::Http(_) => parse(location).map_or_else(|_| String::new(), |url| shown(&url)),
            Self::Store(store) => store.shown(location),
        }
    }

    /// None if the source has no such file.
    pub async fn describe(&self, name: &str, location: &str) -> Result<Option<RemoteFile>> {
        let found = match self {
            Self::Http(origin) => origin.describe(name, location).await,
            Self::Store(store) => store.describe(name, location).await.map(Some),
        };
        match found {
            Err(failure) if failure.kind == Kind::NotFound && !failure.is_page() => Ok(None),
            // Of the files that need not be there nobody misses one.
            Err(failure)
                if failure.is_page() && name != CONFIG && archive_suffix(name).is_none() =>
            {
                Ok(None)
            }
            other => other,
        }
    }

    pub async fn open(&self, file: &RemoteFile, offset: u64) -> Result<Body<'_>> {
        match self {
            Self::Http(origin) => origin.open(file, offset).await,
            Self::Store(store) => {
                let Opened { start, checksum, chunks } = store.open(file, offset).await?;
                let chunks = Chunks::Store(store.http.limits.idle, chunks);
                let what = store.shown(&file.location);
                let pace = Pace::new(store.http.limits.least_rate);
                Ok(Body { start, total: file.size, checksum, what, pace, chunks })
            }
        }
    }
}

impl Body<'_> {
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        let chunk = self.next_chunk().await?;
        self.pace.count(&self.what, chunk.as_ref().map_or(0, Bytes::len))?;
        Ok(chunk)
    }

    async fn next_chunk(&mut self) -> Result<Option<Bytes>> {
        match &mut self.chunks {
            Chunks::Http(http, response) => http.chunk(&self.what, response).await,
            Chunks::Store(idle, chunks) => match tokio::time::timeout(*idle, chunks.next()).await {
                Ok(None) => Ok(None),
                Ok(Some(Ok(chunk))) => Ok(Some(chunk)),
                Ok(Some(Err(error))) => Err(Failure::of_client(&self.what, &error, false)),
                Err(_) => Err(Failure::passing(format!("{}: nothing for {idle:?}", self.what))),
            },
        }
    }
}

impl HttpOrigin<'_> {
    fn ask(&self) -> Ask<'_> {
        Ask { token: self.token, trusted: self.trusted, ..Default::default() }
    }

    async fn describe(&self, name: &str, location: &str) -> Result<Option<RemoteFile>> {
        let url = parse(location)?;
        let head = self.http.send(&url, Ask { head: true, ..self.ask() }).await;
        let response = match head {
            // Some servers, and URLs signed for GET alone, know no HEAD: look at the head of the answer.
            Err(failure) if matches!(failure.http_status, 400 | 403 | 405 | 501) => {
                self.http.send(&url, self.ask()).await?
            }
            other => other?,
        };
        let headers = response.headers();
        // What a site shows for everything that it does not have.
        if header(headers, CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/html")) {
            return Err(Failure::page(&format!("GET {}", shown(&url))));
        }
        Ok(Some(RemoteFile {
            name: name.into(),
            location: location.into(),
            size: header(headers, CONTENT_LENGTH).and_then(|text| text.parse().ok()),
            etag: header(headers, ETAG).map(str::to_owned),
            modified: header(headers, LAST_MODIFIED).map(str::to_owned),
            sha256: None,
        }))
    }

    async fn open(&self, file: &RemoteFile, offset: u64) -> Result<Body<'_>> {
        let url = parse(&file.location)?;
        // Where the checksum is known, it may be another server's ETag that the file is kept under.
        let etag = file.strong_etag().filter(|_| file.sha256.is_none());
        let rest = (offset > 0).then_some((offset, etag));
        let response = self.http.send(&url, Ask { rest, ..self.ask() }).await?;
        let headers = response.headers();
        let version = (header(headers, ETAG), header(headers, LAST_MODIFIED));
        let same = match (&file.etag, &file.modified) {
            (Some(etag), _) => version.0.is_none_or(|now| now == etag),
            (None, Some(date)) => version.1.is_none_or(|now| now == date),
            (None, None) => true,
        };
        // A store behind the Hub has ETags of its own; there the checksum and the length decide.
        if !same && file.sha256.is_none() {
            return Err(Failure::changed(&file.name));
        }
        let what = format!("GET {}", shown(&url));
        let length = header(headers, CONTENT_LENGTH).and_then(|text| text.parse().ok());
        let (start, total) =
            match response.status().as_u16() {
                206 => content_range(headers).filter(|(start, _)| *start == offset).ok_or_else(
                    || Failure::source(format!("{what}: sent another range than asked for")),
                )?,
                _ => (0, length),
            };
        let whole = response.status() == 200;
        let checksum = Checksum::of_headers(headers).filter(|_| whole);
        let pace = Pace::new(self.http.limits.least_rate);
        Ok(Body { start, total, checksum, what, pace, chunks: Chunks::Http(self.http, response) })
    }
}

pub fn parse(location: &str) -> Result<Url> {
    Url::parse(location).map_err(|e| Failure::invalid(format!("not a URL: {e}")))
}

/// First byte and whole length of "bytes 5-9/10".
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let (range, total) = header(headers, CONTENT_RANGE)?.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()))
}
