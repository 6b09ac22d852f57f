//! Adapters of a Hub, by its protocol: revision to commit, the commit's files, each file's ETag and size
//! before its bytes, which may come from another host.

use super::failure::{Failure, Kind, Result};
use super::files::{choose, RemoteFile};
use super::http::{header, retrying, Ask, Http};
use super::hub_cache::{blob_name, is_commit, RepoCache};
use super::origin::{parse, HttpOrigin, Origin};
use super::stage::{path_text, AT_ONCE};
use super::transfer::{download, Meter};
use super::Fetched;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use reqwest::header::{HeaderName, CONTENT_LENGTH, ETAG};
use reqwest::Url;
use std::fs;
use std::path::Path;

const MAX_ANSWER_BYTES: usize = 32 << 20;
const X_REPO_COMMIT: HeaderName = HeaderName::from_static("x-repo-commit");
const X_LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");
const X_LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");

/// What is asked of the Hub. The C++ side has checked the forms of repo, revision and folder.
pub struct HubSource<'a> {
    pub endpoint: &'a str,
    pub cache_dir: &'a Path,
    pub offline: bool,
    /// "org/name".
    pub repo: &'a str,
    pub revision: &'a str,
    /// Folder of the adapter in the repository; empty: its root.
    pub folder: &'a str,
    pub token: &'a str,
    pub known_revision: &'a str,
}

/// What is read of the Hub's answer about a repository.
#[derive(serde::Deserialize)]
struct RepoAnswer {
    sha: Option<String>,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(serde::Deserialize)]
struct Sibling {
    rfilename: String,
}

struct Commit {
    id: String,
    /// Names, folder included, of the adapter's files.
    paths: Vec<String>,
}

struct Session<'a> {
    source: &'a HubSource<'a>,
    adapter_files: &'a [&'a str],
    http: &'a Http,
    endpoint: Url,
    cache: RepoCache,
    meter: &'a Meter<'a>,
}

pub async fn fetch(
    source: &HubSource<'_>,
    adapter_files: &[&str],
    http: &Http,
    meter: &Meter<'_>,
) -> Result<Fetched> {
    let cache = RepoCache::new(source.cache_dir, source.repo);
    if source.offline {
        return offline(source, adapter_files, &cache);
    }
    let endpoint = parse(&format!("{}/", source.endpoint.trim_end_matches('/')))?;
    let session = Session { source, adapter_files, http, endpoint, cache, meter };
    let commit = retrying(&http.limits, async || session.resolve().await).await?;
    if commit.id == source.known_revision {
        return Ok(Fetched { revision: commit.id, unchanged: true, ..Default::default() });
    }
    session.bring(&commit).await?;
    session.cache.set_ref(source.revision, &commit.id)?;
    Ok(Fetched {
        dir: path_text(&session.cache.folder(&commit.id, source.folder))?,
        revision: commit.id,
        bytes: meter.done.get(),
        ..Default::default()
    })
}

/// What the cache has, without asking anyone.
fn offline(source: &HubSource<'_>, adapter_files: &[&str], cache: &RepoCache) -> Result<Fetched> {
    let name = format!("{}@{}", source.repo, source.revision);
    let missing = |what: &str| {
        let text =
            format!("{name}: {what} is not in the cache, and the Hub is not asked (offline)");
        Failure::new(Kind::NotFound, text)
    };
    let commit = cache.commit_of(source.revision).ok_or_else(|| missing("the revision"))?;
    let dir = cache.folder(&commit, source.folder);
    if !dir.is_dir() {
        return Err(missing("the adapter"));
    }
    let there = adapter_files
        .iter()
        .filter(|name| dir.join(name).is_file()) // a link to a blob that is there
        .map(|&name| RemoteFile { name: name.into(), ..Default::default() })
        .collect();
    choose(adapter_files, there).map_err(missing)?;
    let unchanged = commit == source.known_revision;
    Ok(Fetched { dir: path_text(&dir)?, revision: commit, unchanged, ..Default::default() })
}

impl Session<'_> {
    fn ask(&self) -> Ask<'_> {
        Ask { token: self.source.token, trusted: Some(&self.endpoint), ..Default::default() }
    }

    fn url(&self, segments: &[&str]) -> Result<Url> {
        let mut url = self.endpoint.clone();
        url.path_segments_mut()
            .map_err(|()| Failure::invalid("the Hub's endpoint cannot have a path"))?
            .pop_if_empty()
            .extend(segments.iter().flat_map(|segment| segment.split('/')));
        Ok(url)
    }

    /// The commit that the revision stands for, and which of its files make the adapter.
    async fn resolve(&self) -> Result<Commit> {
        let HubSource { repo, revision, folder, .. } = *self.source;
        let mut url = self.url(&["api", "models", repo, "revision"])?;
        // One segment, whatever is in it: refs/pr/1 becomes refs%2Fpr%2F1.
        url.path_segments_mut().expect("has a path").push(revision);
        let what = format!("hf://{repo}@{revision}");
        let response = self.http.send(&url, self.ask()).await?;
        let body = self.http.body(&what, response, MAX_ANSWER_BYTES).await?;
        let answer: RepoAnswer = serde_json::from_slice(&body)
            .map_err(|e| Failure::source(format!("{what}: the Hub's answer is not JSON: {e}")))?;
        drop(body);
        let id = answer.sha.filter(|id| is_commit(id));
        let id = id.ok_or_else(|| Failure::source(format!("{what}: the Hub names no commit")))?;
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let there = answer
            .siblings
            .iter()
            .filter_map(|sibling| sibling.rfilename.strip_prefix(&prefix))
            .map(|name| RemoteFile { name: name.into(), ..Default::default() })
            .collect();
        let chosen = choose(self.adapter_files, there).map_err(|missing| {
            Failure::new(Kind::NotFound, format!("{what}: has no {prefix}{missing}"))
        })?;
        let paths = chosen.into_iter().map(|file| prefix.clone() + &file.name).collect();
        Ok(Commit { id, paths })
    }

    async fn bring(&self, commit: &Commit) -> Result<()> {
        self.cache.make_directories()?;
        let limits = &self.http.limits;
        let heads = commit.paths.iter().map(|path| async move {
            retrying(limits, async || self.describe(commit, path).await).await
        });
        let files: Vec<RemoteFile> = stream::iter(heads).buffered(AT_ONCE).try_collect().await?;
        self.meter.expect(&files)?;
        // The config decides what the others may be.
        let (configs, others): (Vec<_>, Vec<_>) = files.iter().partition(|file| file.is_config());
        for file in configs {
            self.bring_file(commit, file).await?;
            let path = self.cache.folder(&commit.id, "").join(&file.name);
            self.meter.look(file, &path, fs::metadata(&path).map_or(0, |at| at.len()))?;
        }
        let downloads = others.into_iter().map(|file| self.bring_file(commit, file));
        stream::iter(downloads).buffered(AT_ONCE).try_collect::<Vec<()>>().await?;
        Ok(())
    }

    /// ETag and size are the Hub's own, not those of the host that it sends us to.
    async fn describe(&self, commit: &Commit, path: &str) -> Result<RemoteFile> {
        let url = self.url(&[self.source.repo, "resolve", &commit.id, path])?;
        let ask = Ask { head: true, stay: true, ..self.ask() };
        let response = self.http.send(&url, ask).await?;
        let headers = response.headers();
        let what = || super::http::shown(&url);
        if header(headers, X_REPO_COMMIT).is_some_and(|id| id != commit.id) {
            return Err(Failure::source(format!("{}: is of another commit", what())));
        }
        let linked = header(headers, X_LINKED_ETAG);
        let etag = linked.or(header(headers, ETAG)).and_then(blob_name);
        let etag =
            etag.ok_or_else(|| Failure::source(format!("{}: has no usable ETag", what())))?;
        let length = || header(headers, CONTENT_LENGTH).filter(|_| response.status().is_success());
        let size =
            header(headers, X_LINKED_SIZE).or_else(length).and_then(|text| text.parse().ok());
        // Large files are kept under their SHA-256.
        let is_sha256 = etag.len() == 64 && etag.bytes().all(|c| c.is_ascii_hexdigit());
        Ok(RemoteFile {
            name: path.to_owned(),
            location: url.into(),
            size,
            sha256: (linked.is_some() && is_sha256).then(|| etag.to_ascii_lowercase()),
            etag: Some(format!("\"{etag}\"")),
            modified: None,
        })
    }

    async fn bring_file(&self, commit: &Commit, file: &RemoteFile) -> Result<()> {
        let etag = file.etag.as_deref().and_then(blob_name).expect("describe() gave it one");
        let blob = self.cache.blob(&etag);
        let is_there = || {
            let length = fs::metadata(&blob).ok().filter(fs::Metadata::is_file)?.len();
            file.size.is_none_or(|size| size == length).then_some(length)
        };
        if is_there().is_none() {
            let _lock = self.cache.lock(&etag).await?;
            if is_there().is_none() {
                let HubSource { token, .. } = *self.source;
                let origin = Origin::Http(HttpOrigin {
                    http: self.http,
                    token,
                    trusted: Some(&self.endpoint),
                });
                let incomplete = self.cache.incomplete(&etag);
                download(&origin, file, &incomplete, self.meter, &self.http.limits).await?;
                self.cache.keep_blob(&etag)?;
                return self.cache.link(&commit.id, &file.name, &etag);
            }
        }
        self.meter.done.set(self.meter.done.get() + is_there().unwrap_or(0));
        self.cache.link(&commit.id, &file.name, &etag)
    }
}
