//! Files of plain HTTP and of object stores: what there is, then into the staging directory.

use super::failure::{Failure, Kind, Next, Result};
use super::files::{archive_suffix, choose, folder_of, hex, revision, RemoteFile, CONFIG};
use super::http::{retrying, Limits};
use super::origin::{parse, Origin};
use super::transfer::{download, Meter};
use super::Fetched;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use ring::digest;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Requests of one fetch that are under way at once.
pub const AT_ONCE: usize = 4;
/// How often files may change under our hands before we say so.
const LISTINGS: usize = 3;

pub struct Staging<'a> {
    pub dir: &'a Path,
    pub adapter_files: &'a [&'a str],
    pub known_revision: &'a str,
    pub meter: &'a Meter<'a>,
    pub limits: &'a Limits,
}

/// `location` is a URL, or the key of an archive or of a "directory" in a store.
pub async fn stage(origin: &Origin<'_>, location: &str, staging: &Staging<'_>) -> Result<Fetched> {
    for _ in 1..LISTINGS {
        match stage_once(origin, location, staging).await {
            Err(failure) if failure.next == Next::ListAgain => staging.meter.done.set(0),
            other => return other,
        }
    }
    stage_once(origin, location, staging).await
}

async fn stage_once(origin: &Origin<'_>, location: &str, staging: &Staging<'_>) -> Result<Fetched> {
    let archive = archive_of(origin, location)?;
    let files = match &archive {
        Some(name) => {
            vec![describe(origin, name, location, staging.limits).await?.ok_or_else(|| {
                Failure::new(Kind::NotFound, format!("{}: not found", origin.shown(location)))
            })?]
        }
        None => list(origin, location, staging).await?,
    };
    let listed = revision(&files);
    if let Some(listed) = listed.as_ref().filter(|listed| *listed == staging.known_revision) {
        return Ok(Fetched { revision: listed.clone(), unchanged: true, ..Default::default() });
    }
    staging.meter.expect(&files)?;
    let dir = directory(staging.dir, listed.as_deref())?;
    let mut sums = Vec::new();
    // The config, which comes first by its name, decides what the others may be.
    let num_first = files.iter().take_while(|file| file.is_config()).count();
    for file in &files[..num_first] {
        sums.push(bring(origin, file, &dir, staging).await?);
        let path = dir.join(&file.name);
        staging.meter.look(file, &path, fs::metadata(&path).map_or(0, |at| at.len()))?;
    }
    let downloads = files[num_first..].iter().map(|file| bring(origin, file, &dir, staging));
    let others: Vec<String> = stream::iter(downloads).buffered(AT_ONCE).try_collect().await?;
    sums.extend(others);
    for file in files.iter().filter(|file| !folder_of(&file.name).is_empty()) {
        sync_dir(&dir.join(folder_of(&file.name)))?;
    }
    sync_dir(&dir)?;
    Ok(Fetched {
        dir: path_text(&dir)?,
        archive: archive.unwrap_or_default(),
        revision: listed.unwrap_or_else(|| of_contents(&files, &sums)),
        bytes: staging.meter.done.get(),
        unchanged: false,
    })
}

/// The name under which an archive is kept, or None for a directory.
fn archive_of(origin: &Origin<'_>, location: &str) -> Result<Option<String>> {
    let suffix = match origin {
        Origin::Http(_) => archive_suffix(parse(location)?.path()),
        Origin::Store(_) => archive_suffix(location),
    };
    Ok(suffix.map(|suffix| format!("archive{suffix}")))
}

async fn describe(
    origin: &Origin<'_>,
    name: &str,
    location: &str,
    limits: &Limits,
) -> Result<Option<RemoteFile>> {
    retrying(limits, async || origin.describe(name, location).await).await
}

async fn list(
    origin: &Origin<'_>,
    location: &str,
    staging: &Staging<'_>,
) -> Result<Vec<RemoteFile>> {
    let Staging { adapter_files, limits, .. } = *staging;
    let found = match origin {
        Origin::Store(store) => {
            match retrying(limits, async || store.list(location, adapter_files).await).await {
                // Reading may be allowed where listing is not.
                Err(failure) if failure.kind == Kind::Forbidden => {
                    ask_for_all(origin, location, staging).await?
                }
                listed => {
                    let mut listed = listed?;
                    let is_deeper =
                        |name: &str| listed.folders.iter().any(|f| f == folder_of(name));
                    let deeper = adapter_files.iter().copied().filter(|name| is_deeper(name));
                    listed.files.extend(ask_for_each(origin, location, deeper, limits).await?);
                    listed.files
                }
            }
        }
        Origin::Http(_) => ask_for_all(origin, location, staging).await?,
    };
    choose(adapter_files, found).map_err(|missing| {
        Failure::new(Kind::NotFound, format!("{}: has no {missing}", origin.shown(location)))
    })
}

async fn ask_for_all(
    origin: &Origin<'_>,
    location: &str,
    staging: &Staging<'_>,
) -> Result<Vec<RemoteFile>> {
    // The one that must be there decides whether the rest is worth asking for.
    let at = child(origin, location, CONFIG)?;
    let mut found = Vec::from_iter(describe(origin, CONFIG, &at, staging.limits).await?);
    if !found.is_empty() {
        let others = staging.adapter_files.iter().copied().filter(|&name| name != CONFIG);
        found.extend(ask_for_each(origin, location, others, staging.limits).await?);
    }
    Ok(found)
}

/// Those of the files that are there.
async fn ask_for_each<'n>(
    origin: &Origin<'_>,
    location: &str,
    names: impl Iterator<Item = &'n str>,
    limits: &Limits,
) -> Result<Vec<RemoteFile>> {
    let asked = names.map(|name| async move {
        let at = child(origin, location, name)?;
        match describe(origin, name, &at, limits).await {
            // Stores without leave to list answer so for what is not there.
            Err(failure) if failure.kind == Kind::Forbidden && failure.http_status == 403 => {
                Ok(None)
            }
            other => other,
        }
    });
    let found: Vec<Option<RemoteFile>> =
        stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

/// A file in a directory; what stands after `?` in the directory's URL goes with each file (a SAS token).
fn child(origin: &Origin<'_>, location: &str, name: &str) -> Result<String> {
    match origin {
        Origin::Http(_) => {
            let mut url = parse(location)?;
            let path = format!("{}/{name}", url.path().trim_end_matches('/'));
            url.set_path(&path);
            Ok(url.into())
        }
        Origin::Store(_) if location.is_empty() => Ok(name.to_owned()),
        Origin::Store(_) => Ok(format!("{}/{name}", location.trim_end_matches('/'))),
    }
}

/// Each version has a directory of its own, so what an interrupted fetch left there is known to belong to
/// it. Those of other versions, and what has no version, are removed.
fn directory(staging: &Path, revision: Option<&str>) -> Result<PathBuf> {
    const PREFIX: &str = "fetch-";
    let name =
        revision.map_or(format!("{PREFIX}unversioned"), |all| format!("{PREFIX}{}", &all[..16]));
    let dir = staging.join(&name);
    let local = |e: io::Error| Failure::of_file(staging, &e);
    fs::create_dir_all(staging).map_err(local)?;
    for entry in fs::read_dir(staging).map_err(local)? {
        let entry = entry.map_err(local)?;
        let other = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && (revision.is_none() || entry.file_name() != *name);
        if other {
            fs::remove_dir_all(entry.path()).map_err(local)?;
        }
    }
    fs::create_dir_all(&dir).map_err(local)?;
    Ok(dir)
}

/// Gives the file's SHA-256, or nothing if it was there already.
async fn bring(
    origin: &Origin<'_>,
    file: &RemoteFile,
    dir: &Path,
    staging: &Staging<'_>,
) -> Result<String> {
    let path = dir.join(&file.name);
    if let Ok(metadata) = fs::symlink_metadata(&path) {
        // Only whole files get their name.
        staging.meter.done.set(staging.meter.done.get() + metadata.len());
        return Ok(String::new());
    }
    let folder = dir.join(folder_of(&file.name));
    fs::create_dir_all(&folder).map_err(|e| Failure::of_file(&folder, &e))?;
    let incomplete = dir.join(format!("{}.incomplete", file.name));
    let sha256 = download(origin, file, &incomplete, staging.meter, staging.limits).await?;
    fs::rename(&incomplete, &path).map_err(|e| Failure::of_file(&path, &e))?;
    Ok(sha256)
}

fn of_contents(files: &[RemoteFile], sums: &[String]) -> String {
    let all: String =
        files.iter().zip(sums).map(|(file, sum)| format!("{}\n{sum}\n", file.name)).collect();
    hex(digest::digest(&digest::SHA256, all.as_bytes()).as_ref())
}

/// A rename survives a power cut only once its directory is on the disk.
pub fn sync_dir(dir: &Path) -> Result<()> {
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| Failure::of_file(dir, &e))
}

pub fn path_text(path: &Path) -> Result<String> {
    let text =
        path.to_str().ok_or_else(|| Failure::invalid("the directory's name is not UTF-8"))?;
    Ok(text.to_owned())
}
