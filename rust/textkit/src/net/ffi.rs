//! The C interface of fetching.

use super::failure::{Failure, Kind, Result};
use super::http::Limits;
use super::hub::HubSource;
use super::pace::LeastRate;
use super::store::Provider;
use super::{fetch, Fetched, Request, Source};
use crate::ffi::{bytes, catch, put_text, text, Text, View};
use std::ffi::c_void;
use std::path::Path;
use std::time::Duration;

/// tk_setting.
#[repr(C)]
pub struct Setting {
    key: View,
    value: View,
}

/// tk_fetch.
#[repr(C)]
pub struct FetchView {
    kind: i32,
    location: View,
    path: View,
    revision: View,
    token: View,
    staging_dir: View,
    known_revision: View,
    hub_endpoint: View,
    hub_cache_dir: View,
    hub_offline: i32,
    settings: *const Setting,
    num_settings: usize,
    allowed_hosts: *const View,
    num_allowed_hosts: usize,
    adapter_files: *const View,
    num_adapter_files: usize,
    max_bytes: u64,
    connect_timeout_ms: u32,
    idle_timeout_ms: u32,
    total_timeout_ms: u32,
    least_bytes_per_second: u64,
    rate_window_ms: u32,
    retries: u32,
    backoff_ms: u32,
    watch: extern "C" fn(*mut c_void, u64, u64) -> i32,
    look: extern "C" fn(*mut c_void, View, View, u64) -> i32,
    context: *mut c_void,
}

/// tk_fetched.
#[repr(C)]
pub struct FetchedTexts {
    dir: Text,
    archive: Text,
    revision: Text,
    bytes: u64,
    unchanged: i32,
}

unsafe fn utf8<'a>(view: View, what: &str) -> Result<&'a str> {
    text(view, what).map_err(|e| Failure::invalid(e.text))
}

unsafe fn all_utf8<'a>(views: *const View, count: usize, what: &str) -> Result<Vec<&'a str>> {
    bytes(views, count).iter().map(|&view| utf8(view, what)).collect()
}

unsafe fn source<'a>(view: &FetchView, token: &'a str, known: &'a str) -> Result<Source<'a>> {
    let location = utf8(view.location, "the location")?;
    let path = utf8(view.path, "the path")?;
    let store = |provider| Source::Store { provider, bucket: location, key: path };
    Ok(match view.kind {
        1 => Source::Url(location),
        2 => Source::Hub(HubSource {
            endpoint: utf8(view.hub_endpoint, "the Hub's endpoint")?,
            cache_dir: Path::new(utf8(view.hub_cache_dir, "the Hub's cache")?),
            offline: view.hub_offline != 0,
            repo: location,
            revision: utf8(view.revision, "the revision")?,
            folder: path,
            token,
            known_revision: known,
        }),
        3 => store(Provider::S3),
        4 => store(Provider::Google),
        5 => store(Provider::Azure),
        kind => return Err(Failure::invalid(format!("no kind of source: {kind}"))),
    })
}

unsafe fn request<'a>(view: &FetchView) -> Result<Request<'a>> {
    let ms = |ms: u32| Duration::from_millis(ms.into());
    let token = utf8(view.token, "the token")?;
    let known_revision = utf8(view.known_revision, "the revision")?;
    let mut settings = Vec::new();
    for setting in bytes(view.settings, view.num_settings) {
        let key = utf8(setting.key, "a setting's name")?;
        settings.push((key.to_owned(), utf8(setting.value, "a setting")?.to_owned()));
    }
    Ok(Request {
        source: source(view, token, known_revision)?,
        adapter_files: all_utf8(view.adapter_files, view.num_adapter_files, "a file's name")?,
        token,
        staging_dir: Path::new(utf8(view.staging_dir, "the staging directory")?),
        known_revision,
        settings,
        allowed_hosts: all_utf8(view.allowed_hosts, view.num_allowed_hosts, "an allowed host")?,
        limits: Limits {
            connect: ms(view.connect_timeout_ms),
            idle: ms(view.idle_timeout_ms),
            total: ms(view.total_timeout_ms),
            least_rate: LeastRate {
                bytes_per_second: view.least_bytes_per_second,
                window: ms(view.rate_window_ms),
            },
            retries: view.retries,
            backoff: ms(view.backoff_ms),
        },
        max_bytes: view.max_bytes,
    })
}

#[no_mangle]
pub unsafe extern "C" fn tk_fetch_run(
    view: *const FetchView,
    out: *mut FetchedTexts,
    http_status: *mut i32,
    error: *mut Text,
) -> i32 {
    let view = &*view;
    // A panic arrives as the crate's own error, a failure inside the Ok.
    let outcome = catch(|| {
        Ok(request(view).and_then(|request| {
            let look = |name: &str, path: &Path, file_bytes: u64| {
                let Some(path) = path.to_str() else { return true };
                (view.look)(view.context, View::of(name), View::of(path), file_bytes) == 0
            };
            fetch(&request, |done, total| (view.watch)(view.context, done, total) != 0, &look)
        }))
    });
    let outcome = outcome.unwrap_or_else(|e| Err(Failure::new(Kind::Panic, e.text)));
    match outcome {
        Ok(fetched) => {
            put_fetched(out, fetched);
            0
        }
        Err(failure) => {
            http_status.write(failure.http_status.into());
            put_text(error, failure.text);
            failure.kind as i32
        }
    }
}

unsafe fn put_fetched(out: *mut FetchedTexts, fetched: Fetched) {
    put_text(&raw mut (*out).dir, fetched.dir);
    put_text(&raw mut (*out).archive, fetched.archive);
    put_text(&raw mut (*out).revision, fetched.revision);
    (&raw mut (*out).bytes).write(fetched.bytes);
    (&raw mut (*out).unchanged).write(fetched.unchanged.into());
}
