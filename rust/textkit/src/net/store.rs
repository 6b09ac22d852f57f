//! Object stores: S3, Google Cloud Storage, Azure. `object_store` signs, lists and finds credentials; its
//! requests go out through our HTTP client, and retries are ours.

use super::checksum::Checksum;
use super::failure::{Failure, Kind, Result};
use super::files::{folder_of, RemoteFile};
use super::http::Http;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use http_body_util::BodyExt;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::{
    ClientOptions, Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt,
    RetryConfig,
};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    S3,
    Google,
    Azure,
}

/// Of one prefix: pages that are asked for, and objects in them together. An adapter's directory has some
/// twenty files.
const MAX_PAGES: usize = 16;
const PAGE_OBJECTS: usize = 1_000;

/// What every provider's store can do.
trait PagedStore: ObjectStore + PaginatedListStore {}
impl<T: ObjectStore + PaginatedListStore> PagedStore for T {}

pub struct Store<'a> {
    pub http: &'a Http,
    store: Box<dyn PagedStore>,
    /// What messages call it: "s3://bucket".
    name: String,
}

/// What there is under a prefix.
#[derive(Default)]
pub struct Listing {
    pub files: Vec<RemoteFile>,
    /// With further objects under them.
    pub folders: Vec<String>,
}

/// An object's bytes from `start` on.
pub struct Opened {
    pub start: u64,
    /// Only where `start` is 0.
    pub checksum: Option<Checksum>,
    pub chunks: BoxStream<'static, object_store::Result<Bytes>>,
}

impl<'a> Store<'a> {
    /// `settings` are named as in the environment, in any case: AWS_REGION, GOOGLE_SERVICE_ACCOUNT,
    /// AZURE_STORAGE_ACCOUNT_NAME. Those of other providers are passed over.
    pub fn new(
        http: &'a Http,
        provider: Provider,
        bucket: &str,
        settings: &[(String, String)],
    ) -> Result<Self> {
        check_bucket(bucket)?;
        let (scheme, prefix) = match provider {
            Provider::S3 => ("s3", "aws_"),
            Provider::Google => ("gs", "google_"),
            Provider::Azure => ("az", "azure_"),
        };
        let settings = settings
            .iter()
            .map(|(key, value)| (key.to_ascii_lowercase(), value))
            .filter(|(key, value)| key.starts_with(prefix) && !value.is_empty());
        let built = match provider {
            Provider::S3 => make_s3(http, bucket, settings),
            Provider::Google => make_google(http, bucket, settings),
            Provider::Azure => make_azure(http, bucket, settings),
        };
        let name = format!("{scheme}://{bucket}");
        let store = built.map_err(|e| Failure::invalid(format!("{name}: {e}")))?;
        Ok(Self { http, store, name })
    }

    pub fn shown(&self, key: &str) -> String {
        format!("{}/{key}", self.name)
    }

    pub async fn describe(&self, name: &str, key: &str) -> Result<RemoteFile> {
        let what = self.shown(key);
        let key = path(key)?;
        let meta = self.timed(&what, self.store.head(&key)).await?;
        Ok(remote_file(name, meta))
    }

    /// The objects right under a prefix that are known by name.
    pub async fn list(&self, prefix: &str, known: &[&str]) -> Result<Listing> {
        let what = self.shown(prefix);
        let prefix = format!("{}/", path(prefix)?);
        let mut listing = Listing::default();
        let mut page_token = None;
        for _ in 0..MAX_PAGES {
            let options = PaginatedListOptions {
                delimiter: Some("/".into()),
                max_keys: Some(PAGE_OBJECTS),
                page_token,
                ..Default::default()
            };
            let prefix = (prefix != "/").then_some(prefix.as_str());
            let page = self.timed(&what, self.store.list_paginated(prefix, options)).await?;
            listing.files.extend(page.result.objects.into_iter().filter_map(|meta| {
                let name = meta.location.filename()?.to_owned();
                known.contains(&name.as_str()).then(|| remote_file(&name, meta))
            }));
            let folders = page.result.common_prefixes.iter().filter_map(|path| path.filename());
            let wanted =
                folders.filter(|folder| known.iter().any(|name| folder_of(name) == *folder));
            listing.folders.extend(wanted.map(str::to_owned));
            match page.page_token {
                Some(token) => page_token = Some(token),
                None => return Ok(listing),
            }
        }
        let most = MAX_PAGES * PAGE_OBJECTS;
        let text =
            format!("{what}: lists more than {most} objects; an adapter has a prefix of its own");
        Err(Failure::new(Kind::TooLarge, text))
    }

    pub async fn open(&self, file: &RemoteFile, offset: u64) -> Result<Opened> {
        let options = GetOptions {
            range: (offset > 0).then_some(GetRange::Offset(offset)),
            if_match: file.etag.clone(),
            ..Default::default()
        };
        let what = self.shown(&file.location);
        let key = path(&file.location)?;
        let got = self.store.get_opts(&key, options);
        let got = self.timed(&what, got).await.map_err(|failure| match failure.http_status {
            412 => Failure::changed(&what),
            _ => failure,
        })?;
        Ok(Opened {
            start: got.range.start,
            checksum: got.extensions.get().copied(),
            chunks: got.into_stream(),
        })
    }

    async fn timed<T>(
        &self,
        what: &str,
        call: impl std::future::Future<Output = object_store::Result<T>>,
    ) -> Result<T> {
        let patience = self.http.limits.idle.max(self.http.limits.connect);
        match tokio::time::timeout(patience, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(failure(what, &error)),
            Err(_) => Err(Failure::passing(format!("{what}: no answer in {patience:?}"))),
        }
    }
}

/// A bucket becomes part of a host's name, so it may hold nothing that ends one.
fn check_bucket(bucket: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let edges = |c: char| c.is_ascii_alphanumeric();
    let good = (3..=222).contains(&bucket.len())
        && bucket.chars().all(fits)
        && bucket.starts_with(edges)
        && bucket.ends_with(edges)
        && !bucket.contains("..");
    match good {
        true => Ok(()),
        false => Err(Failure::invalid(format!("\"{bucket}\" cannot be the name of a bucket"))),
    }
}

fn path(key: &str) -> Result<Path> {
    Path::parse(key).map_err(|e| Failure::invalid(format!("{key}: {e}")))
}

fn remote_file(name: &str, meta: ObjectMeta) -> RemoteFile {
    RemoteFile {
        name: name.into(),
        location: meta.location.to_string(),
        size: Some(meta.size),
        etag: meta.e_tag,
        modified: Some(meta.last_modified.to_rfc3339()),
        sha256: None,
    }
}

fn failure(what: &str, error: &Error) -> Failure {
    let status = match error {
        Error::NotFound { .. } => 404,
        Error::PermissionDenied { .. } => 403,
        Error::Unauthenticated { .. } => 401,
        Error::Precondition { .. } => 412,
        Error::InvalidPath { .. } => return Failure::invalid(format!("{what}: {error}")),
        _ => 0,
    };
    let text = error.to_string();
    let code = error_code(&text);
    if status != 0 {
        return Failure::of_status(what, status, code, None);
    }
    // The status is in the text alone: "... non-2xx status code: 503 Service Unavailable: ...".
    let status =
        text.split_once("status code: ").and_then(|(_, rest)| rest.get(..3)?.parse::<u16>().ok());
    match status {
        Some(status) => Failure::of_status(what, status, code, None),
        None => Failure::of_client(what, error, text.contains("timed out")),
    }
}

/// What the stores' XML calls the error: "SignatureDoesNotMatch".
fn error_code(text: &str) -> &str {
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    let plain = |code: &&str| code.len() < 100 && code.chars().all(|c| c.is_ascii_alphanumeric());
    code.map(|(code, _)| code).filter(plain).unwrap_or_default()
}

fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, retry_timeout: Duration::ZERO, ..Default::default() }
}

/// What every builder is told; a key that it does not know is someone else's (AWS_PAGER), and passed over.
macro_rules! configure {
    ($builder:expr, $http:expr, $settings:expr) => {{
        let mut builder = $builder
            .with_retry(no_retries())
            .with_client_options(client_options())
            .with_http_connector(Connector($http.open().clone()));
        for (key, value) in $settings {
            if let Ok(key) = key.parse() {
                builder = builder.with_config(key, value);
            }
        }
        builder
    }};
}

fn client_options() -> ClientOptions {
    // S3 sends checksums only to those who ask; it is signed there, and means nothing elsewhere.
    let ask = (HeaderName::from_static("x-amz-checksum-mode"), HeaderValue::from_static("ENABLED"));
    ClientOptions::new().with_allow_http(true).with_default_headers(HeaderMap::from_iter([ask]))
}

fn make_s3<'s>(
    http: &Http,
    bucket: &str,
    settings: impl Iterator<Item = (String, &'s String)>,
) -> object_store::Result<Box<dyn PagedStore>> {
    let builder = configure!(AmazonS3Builder::new(), http, settings);
    Ok(Box::new(builder.with_bucket_name(bucket).build()?))
}

fn make_google<'s>(
    http: &Http,
    bucket: &str,
    settings: impl Iterator<Item = (String, &'s String)>,
) -> object_store::Result<Box<dyn PagedStore>> {
    let builder = configure!(GoogleCloudStorageBuilder::new(), http, settings);
    Ok(Box::new(builder.with_bucket_name(bucket).build()?))
}

fn make_azure<'s>(
    http: &Http,
    bucket: &str,
    settings: impl Iterator<Item = (String, &'s String)>,
) -> object_store::Result<Box<dyn PagedStore>> {
    let builder = configure!(MicrosoftAzureBuilder::new(), http, settings);
    Ok(Box::new(builder.with_container_name(bucket).build()?))
}

/// Gives `object_store` our client. Redirects are not followed: a signature holds for one host.
#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service(self.0.clone())))
    }
}

#[derive(Debug)]
struct Service(reqwest::Client);

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string();
        // Listing, reading and asking for a token: every body here is one piece.
        let body = body.as_bytes().cloned().unwrap_or_default();
        let mut outgoing = self.0.request(parts.method, url).headers(parts.headers);
        if !body.is_empty() {
            outgoing = outgoing.body(body);
        }
        let response = outgoing.send().await.map_err(http_error)?;
        let (mut parts, body) = http::Response::<reqwest::Body>::from(response).into_parts();
        // A part of an object comes with the checksum of the whole, or of another part.
        if let Some(checksum) = Checksum::of_headers(&parts.headers).filter(|_| parts.status == 200)
        {
            parts.extensions.insert(checksum);
        }
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body.map_err(http_error))))
    }
}

fn http_error(error: reqwest::Error) -> HttpError {
    let kind = if error.is_timeout() {
        HttpErrorKind::Timeout
    } else if error.is_connect() {
        HttpErrorKind::Connect
    } else {
        HttpErrorKind::Interrupted
    };
    HttpError::new(kind, error.without_url())
}

#[cfg(test)]
mod tests {
    use super::check_bucket;

    #[test]
    fn a_bucket_cannot_lead_to_another_host() {
        for name in ["adapters", "my.bucket-1", "a_b"] {
            assert!(check_bucket(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "ab",
            "evil.example/",
            "a@b",
            "a:80",
            "a#b",
            "a?b",
            "a\\b",
            ".ab",
            "ab.",
            "a..b",
            "büc",
            "a b",
            "a%2fb",
        ] {
            assert!(check_bucket(name).is_err(), "{name}");
        }
    }
}
