//! Requests over HTTP: who may be asked, redirects one by one, time-outs, and retries.

use super::address::{GuardedResolver, Rules};
use super::failure::{Failure, Kind, Next, Result};
use super::pace::{LeastRate, Pace};
use reqwest::header::{
    HeaderMap, HeaderName, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, IF_RANGE, LOCATION,
    RANGE, RETRY_AFTER,
};
use reqwest::{Client, Method, Response, Url};
use rustls::{ClientConfig, RootCertStore};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const MAX_REDIRECTS: usize = 10;
const MAX_BACKOFF: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub connect: Duration,
    /// The longest that a server may send nothing.
    pub idle: Duration,
    pub total: Duration,
    pub least_rate: LeastRate,
    /// How often a failure that may pass is tried again, as long as no byte arrives.
    pub retries: u32,
    /// Before the first retry; doubles with each.
    pub backoff: Duration,
}

pub struct Http {
    /// Connects to public addresses, and to what the rules allow.
    guarded: Client,
    /// For hosts that the operator named.
    open: Client,
    rules: Arc<Rules>,
    pub limits: Limits,
}

/// One request; GET unless `head`.
#[derive(Clone, Copy, Default)]
pub struct Ask<'a> {
    pub head: bool,
    /// Goes to the first host only.
    pub token: &'a str,
    /// First byte wanted, and the ETag that the file must still have (none where a checksum decides).
    pub rest: Option<(u64, Option<&'a str>)>,
    /// An endpoint of the operator's configuration: its address is not judged.
    pub trusted: Option<&'a Url>,
    /// Answer with a redirect to another host instead of following it.
    pub stay: bool,
}

impl Http {
    pub fn new(rules: Rules, limits: Limits) -> Result<Self> {
        let rules = Arc::new(rules);
        let client = || {
            Client::builder()
                .tls_backend_preconfigured(tls())
                .user_agent(concat!("lorry/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .no_proxy()
                .connect_timeout(limits.connect)
        };
        let broken = |error: reqwest::Error| Failure::source(format!("HTTP client: {error}"));
        let guarded = client().dns_resolver(GuardedResolver(Arc::clone(&rules))).build();
        Ok(Self {
            guarded: guarded.map_err(broken)?,
            open: client().build().map_err(broken)?,
            rules,
            limits,
        })
    }

    /// For requests whose host the operator's configuration alone decides.
    pub fn open(&self) -> &Client {
        &self.open
    }

    /// The answer to a request, its redirects followed. Every status but 2xx, and 3xx with `stay`, is a
    /// failure.
    pub async fn send(&self, url: &Url, ask: Ask<'_>) -> Result<Response> {
        let mut url = url.clone();
        let mut token = ask.token;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send_once(&url, token, &ask).await?;
            if !response.status().is_redirection() {
                return checked(&url, &ask, response).await;
            }
            let next = redirect_target(&url, response.headers(), &ask)?;
            let leaves = !same_origin(&url, &next);
            if leaves && ask.stay {
                return Ok(response);
            }
            if leaves {
                token = "";
            }
            url = next;
        }
        Err(Failure::source(format!("{}: more than {MAX_REDIRECTS} redirects", what(&url, &ask))))
    }

    async fn send_once(&self, url: &Url, token: &str, ask: &Ask<'_>) -> Result<Response> {
        let what = what(url, ask);
        let method = if ask.head { Method::HEAD } else { Method::GET };
        // Compressed answers would make lengths and ranges mean something else.
        let mut request = self
            .client_for(url, ask)
            .map_err(|failure| Failure { text: format!("{what}: {}", failure.text), ..failure })?
            .request(method, url.clone())
            .header(ACCEPT_ENCODING, "identity");
        if !token.is_empty() {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some((start, etag)) = ask.rest {
            request = request.header(RANGE, format!("bytes={start}-"));
            if let Some(etag) = etag {
                request = request.header(IF_RANGE, etag);
            }
        }
        match tokio::time::timeout(self.limits.idle.max(self.limits.connect), request.send()).await
        {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.is_builder() => {
                Err(Failure::invalid(format!("{what}: {}", error.without_url())))
            }
            Ok(Err(error)) => Err(Failure::of_client(&what, &error, error.is_timeout())),
            Err(_) => Err(Failure::passing(format!("{what}: no answer in {:?}", self.limits.idle))),
        }
    }

    fn client_for(&self, url: &Url, ask: &Ask<'_>) -> Result<&Client> {
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(Failure::new(Kind::Forbidden, "only http and https are followed"));
        }
        if ask.trusted.is_some_and(|trusted| same_origin(trusted, url))
            || self.rules.allows_host(url)
        {
            return Ok(&self.open);
        }
        self.rules.check_literal(url).map_err(|e| Failure::new(Kind::Forbidden, e.to_string()))?;
        Ok(&self.guarded)
    }

    /// The next piece of a body; None at its end.
    pub async fn chunk(&self, what: &str, response: &mut Response) -> Result<Option<bytes::Bytes>> {
        match tokio::time::timeout(self.limits.idle, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(Failure::of_client(what, &error, error.is_timeout())),
            Err(_) => Err(Failure::passing(format!("{what}: nothing for {:?}", self.limits.idle))),
        }
    }

    /// A small body, whole.
    pub async fn body(&self, what: &str, mut response: Response, max: usize) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        let mut pace = Pace::new(self.limits.least_rate);
        while let Some(chunk) = self.chunk(what, &mut response).await? {
            pace.count(what, chunk.len())?;
            if body.len() + chunk.len() > max {
                return Err(Failure::source(format!("{what}: answers with more than {max} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// The system's root certificates, read once.
fn tls() -> ClientConfig {
    static CONFIG: OnceLock<ClientConfig> = OnceLock::new();
    let make = || {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has every default protocol version")
            .with_root_certificates(roots)
            .with_no_client_auth()
    };
    CONFIG.get_or_init(make).clone()
}

fn redirect_target(url: &Url, headers: &HeaderMap, ask: &Ask<'_>) -> Result<Url> {
    let bad = |why: &str| Failure::source(format!("{}: redirect {why}", what(url, ask)));
    let location = header(headers, LOCATION).ok_or_else(|| bad("without a location"))?;
    let next = url.join(location).map_err(|_| bad("to something that is not a URL"))?;
    if url.scheme() == "https" && next.scheme() != "https" {
        return Err(Failure {
            kind: Kind::Forbidden,
            ..bad(&format!("from https down to {}", next.scheme()))
        });
    }
    Ok(next)
}

async fn checked(url: &Url, ask: &Ask<'_>, response: Response) -> Result<Response> {
    let what = what(url, ask);
    let headers = response.headers();
    if response.status().is_success() {
        return match header(headers, CONTENT_ENCODING) {
            None | Some("identity") => Ok(response),
            Some(coding) => {
                Err(Failure::source(format!("{what}: sent as {coding} though not asked for")))
            }
        };
    }
    let after = header(headers, RETRY_AFTER).and_then(|text| text.parse().ok());
    // The Hub says in a header why.
    let detail = header(headers, HeaderName::from_static("x-error-message")).unwrap_or_default();
    let detail: String = detail.chars().filter(|c| !c.is_control()).take(200).collect();
    let status = response.status().as_u16();
    Err(Failure::of_status(&what, status, &detail, after.map(Duration::from_secs)))
}

pub fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host() == b.host()
        && a.port_or_known_default() == b.port_or_known_default()
}

pub fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A URL without what may be secret in it: user, password and query.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

fn what(url: &Url, ask: &Ask<'_>) -> String {
    format!("{} {}", if ask.head { "HEAD" } else { "GET" }, shown(url))
}

/// Tries until it works, a failure will not pass, or the retries are used up.
pub async fn retrying<T>(
    limits: &Limits,
    mut attempt: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let mut failures = 0;
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(failure) => {
                failures += 1;
                pause(limits, failures, failure).await?;
            }
        }
    }
}

/// Waits before retry number `failures`, or gives the failure back if there is to be none.
pub async fn pause(limits: &Limits, failures: u32, failure: Failure) -> Result<()> {
    let (retries, after) = match failure.next {
        Next::Retry(after) => (limits.retries, after),
        Next::RetryOnce => (limits.retries.min(1), Duration::ZERO),
        Next::GiveUp | Next::ListAgain => return Err(failure),
    };
    if failures > retries {
        let tries = if failures > 1 { format!(" ({failures} attempts)") } else { String::new() };
        return Err(Failure { text: failure.text + &tries, next: Next::GiveUp, ..failure });
    }
    let backoff = limits.backoff.saturating_mul(1 << (failures - 1).min(16));
    tokio::time::sleep(after.max(backoff).min(MAX_BACKOFF)).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    fn target(from: &str, to: &str) -> Result<Url> {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, HeaderValue::from_str(to).unwrap());
        redirect_target(&Url::parse(from).unwrap(), &headers, &Ask::default())
    }

    #[test]
    fn redirects_never_step_down_from_https() {
        assert!(target("https://a/x", "http://a/x").is_err());
        assert!(target("https://a/x", "ftp://a/x").is_err());
        assert_eq!(target("https://a/x/y", "../z").unwrap().as_str(), "https://a/z");
        assert_eq!(target("http://a/x", "//b/z").unwrap().as_str(), "http://b/z");
        assert!(target("http://a/x", "http://").is_err());
    }

    #[test]
    fn what_is_shown_has_no_secrets() {
        let url =
            Url::parse("https://user:secret@h.example/a?X-Amz-Signature=secret#secret").unwrap();
        assert_eq!(shown(&url), "https://h.example/a");
    }
}
