//! Fetching adapters: bytes from a Hub, an object store or a URL onto the disk.
//!
//! Owns:   nothing between two calls but the system's root certificates.
//! Thread: each fetch runs, and calls `watch`, on the thread that asked for it; fetches share nothing.
//! Never:  reads the environment for itself, parses what it brings, or writes outside the directories that
//!         it was given.

mod address;
mod checksum;
mod failure;
mod ffi;
mod files;
mod http;
mod hub;
mod hub_cache;
mod origin;
mod pace;
mod stage;
mod store;
mod transfer;

use address::Rules;
use failure::{Failure, Result};
use http::{Http, Limits};
use hub::HubSource;
use origin::{HttpOrigin, Origin};
use stage::Staging;
use std::path::Path;
use std::time::Duration;
use store::{Provider, Store};
use transfer::{Look, Meter};

enum Source<'a> {
    Url(&'a str),
    Hub(HubSource<'a>),
    Store { provider: Provider, bucket: &'a str, key: &'a str },
}

struct Request<'a> {
    source: Source<'a>,
    /// Paths in an adapter's directory.
    adapter_files: Vec<&'a str>,
    token: &'a str,
    staging_dir: &'a Path,
    known_revision: &'a str,
    /// Settings of object stores, named as in the environment.
    settings: Vec<(String, String)>,
    allowed_hosts: Vec<&'a str>,
    limits: Limits,
    max_bytes: u64,
}

#[derive(Debug, Default)]
pub struct Fetched {
    pub dir: String,
    /// Name of the one file in `dir`, if it is an archive.
    pub archive: String,
    pub revision: String,
    pub unchanged: bool,
    pub bytes: u64,
}

/// Runs one fetch on this thread. `watch` hears of bytes done and in all, and says whether to give up;
/// `look` sees files that the others may depend on.
fn fetch(
    request: &Request<'_>,
    watch: impl Fn(u64, u64) -> bool,
    look: Look<'_>,
) -> Result<Fetched> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(failure::Kind::Local, format!("no runtime: {e}")))?;
    let meter = Meter::new(request.max_bytes, look);
    let total = request.limits.total;
    let result = runtime.block_on(async {
        tokio::select! {
            biased;
            () = given_up(&meter, &watch) => Err(Failure::cancelled()),
            result = tokio::time::timeout(total, bring(request, &meter)) => result.unwrap_or_else(|_| {
                Err(Failure::source(format!("took longer than the {total:?} that a fetch may take")))
            }),
        }
    });
    // A look-up of a name may still hang in the system's resolver.
    runtime.shutdown_background();
    if result.is_ok() {
        watch(meter.done.get(), meter.total.get());
    }
    result
}

async fn given_up(meter: &Meter<'_>, watch: &impl Fn(u64, u64) -> bool) {
    const EVERY: Duration = Duration::from_millis(50);
    while !watch(meter.done.get(), meter.total.get()) {
        tokio::time::sleep(EVERY).await;
    }
}

async fn bring(request: &Request<'_>, meter: &Meter<'_>) -> Result<Fetched> {
    let rules = Rules::parse(request.allowed_hosts.iter().copied())
        .map_err(|e| Failure::invalid(format!("allowed hosts: {e}")))?;
    let http = Http::new(rules, request.limits)?;
    let staging = Staging {
        dir: request.staging_dir,
        adapter_files: &request.adapter_files,
        known_revision: request.known_revision,
        meter,
        limits: &request.limits,
    };
    match &request.source {
        Source::Hub(source) => hub::fetch(source, &request.adapter_files, &http, meter).await,
        Source::Url(url) => {
            let origin = HttpOrigin { http: &http, token: request.token, trusted: None };
            stage::stage(&Origin::Http(origin), url, &staging).await
        }
        Source::Store { provider, bucket, key } => {
            let store = Store::new(&http, *provider, bucket, &request.settings)?;
            stage::stage(&Origin::Store(store), key, &staging).await
        }
    }
}
