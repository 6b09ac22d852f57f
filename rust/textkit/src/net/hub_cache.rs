//! The Hub's cache on disk, laid out as Python's huggingface_hub does it, so that both share one:
//!
//! ```text
//! models--org--name/blobs/<etag>                    the bytes; <etag>.incomplete while they come
//! models--org--name/snapshots/<commit>/<file>       relative link to a blob
//! models--org--name/refs/<revision>                 the commit that a branch or tag stood for
//! .locks/models--org--name/<etag>.lock              held (flock) by whoever writes that blob
//! ```

use super::failure::{Failure, Result};
use super::stage::sync_dir;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

pub struct RepoCache {
    repo: PathBuf,
    locks: PathBuf,
}

/// Released when dropped, or when the process ends in whatever way.
pub struct Lock(#[allow(dead_code)] File);

impl RepoCache {
    pub fn new(cache: &Path, repo: &str) -> Self {
        let folder = format!("models--{}", repo.replace('/', "--"));
        Self { locks: cache.join(".locks").join(&folder), repo: cache.join(folder) }
    }

    fn snapshot(&self, commit: &str) -> PathBuf {
        self.repo.join("snapshots").join(commit)
    }

    /// A folder of a snapshot; empty: all of it.
    pub fn folder(&self, commit: &str, folder: &str) -> PathBuf {
        let snapshot = self.snapshot(commit);
        if folder.is_empty() {
            snapshot
        } else {
            snapshot.join(folder)
        }
    }

    pub fn blob(&self, etag: &str) -> PathBuf {
        self.repo.join("blobs").join(etag)
    }

    pub fn incomplete(&self, etag: &str) -> PathBuf {
        self.repo.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// The commit that a revision stood for when it was last asked for.
    pub fn commit_of(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let text = fs::read_to_string(self.repo.join("refs").join(revision)).ok()?;
        let commit = text.trim().to_owned();
        is_commit(&commit).then_some(commit)
    }

    pub fn make_directories(&self) -> Result<()> {
        for dir in [self.repo.join("blobs"), self.locks.clone()] {
            fs::create_dir_all(&dir).map_err(|e| Failure::of_file(&dir, &e))?;
        }
        Ok(())
    }

    /// Waits until nobody else writes this blob.
    pub async fn lock(&self, etag: &str) -> Result<Lock> {
        let path = self.locks.join(format!("{etag}.lock"));
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = open.map_err(|e| Failure::of_file(&path, &e))?;
        loop {
            // SAFETY: the descriptor is open as long as `file` is.
            if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
                return Ok(Lock(file));
            }
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EWOULDBLOCK) {
                return Err(Failure::of_file(&path, &error));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Gives a whole blob its name.
    pub fn keep_blob(&self, etag: &str) -> Result<()> {
        let (from, to) = (self.incomplete(etag), self.blob(etag));
        fs::rename(&from, &to).map_err(|e| Failure::of_file(&to, &e))?;
        sync_dir(&self.repo.join("blobs"))
    }

    /// `snapshots/<commit>/<file>` becomes a link to the blob; `file` may have folders.
    pub fn link(&self, commit: &str, file: &str, etag: &str) -> Result<()> {
        let path = self.snapshot(commit).join(file);
        let folder = path.parent().expect("a file is in a folder");
        let failed = |e: io::Error| Failure::of_file(&path, &e);
        fs::create_dir_all(folder).map_err(failed)?;
        let up = "../".repeat(2 + file.matches('/').count());
        let target = format!("{up}blobs/{etag}");
        if fs::read_link(&path).is_ok_and(|old| old == Path::new(&target)) {
            return Ok(());
        }
        // Under another name first: a reader never finds the file missing.
        let fresh = unused_name(folder);
        symlink(&target, &fresh).map_err(failed)?;
        fs::rename(&fresh, &path).map_err(failed)
    }

    pub fn set_ref(&self, revision: &str, commit: &str) -> Result<()> {
        if self.commit_of(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.repo.join("refs").join(revision);
        let folder = path.parent().expect("a ref is in a folder");
        let failed = |e: io::Error| Failure::of_file(&path, &e);
        fs::create_dir_all(folder).map_err(failed)?;
        let fresh = unused_name(folder);
        let mut file = File::create(&fresh).map_err(failed)?;
        file.write_all(commit.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&fresh, &path).map_err(failed)
    }
}

/// For a file that gets its own name by a rename.
fn unused_name(folder: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = UNIX_EPOCH.elapsed().map_or(0, |now| now.as_nanos());
    folder.join(format!(".{}-{count}-{now:x}.new", std::process::id()))
}

pub fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
}

/// The name that a blob is kept under: the ETag without its quotes, if that can be a file's name.
pub fn blob_name(etag: &str) -> Option<String> {
    let name = etag.trim_start_matches("W/").trim_matches('"');
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let good = (1..=200).contains(&name.len()) && name.chars().all(fits) && !name.starts_with('.');
    good.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_becomes_a_name_or_nothing() {
        assert_eq!(blob_name("\"abc-1\"").as_deref(), Some("abc-1"));
        assert_eq!(blob_name("W/\"abc\"").as_deref(), Some("abc"));
        for etag in ["", "\"\"", "\"../x\"", "a/b", "..", ".x", "a b"] {
            assert_eq!(blob_name(etag), None, "{etag}");
        }
    }

    #[test]
    fn commits_are_forty_lower_case_hex_digits() {
        assert!(is_commit("0123456789abcdef0123456789abcdef01234567"));
        assert!(!is_commit("main") && !is_commit("0123456789ABCDEF0123456789abcdef01234567"));
    }
}
