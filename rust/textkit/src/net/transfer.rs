//! One file from a source to the disk: appended as it comes, continued where it broke off, counted against
//! the limit, checked, and only then given its name.

use super::checksum::Checksum;
use super::failure::{Failure, Kind, Next, Result};
use super::files::{hex, RemoteFile};
use super::http::{pause, Limits};
use super::origin::Origin;
use ring::digest;
use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Longer headers are refused by whoever looks.
const MAX_HEADER_BYTES: u64 = 16 << 20;
/// Enough to tell from how a file begins what it is.
const KIND_BYTES: u64 = 1024;

/// What an attempt must bring for the next failure to count as the first again.
const PROGRESS_BYTES: u64 = 64 << 10;

/// Told of the config when it is here, and of the weights when their header is: name, where it lies, how
/// long it is to be. False: the rest need not come.
pub type Look<'a> = &'a dyn Fn(&str, &Path, u64) -> bool;

/// Bytes of one fetch, over all of its files, and what is judged by them.
pub struct Meter<'a> {
    pub done: Cell<u64>,
    pub total: Cell<u64>,
    max: u64,
    look: Look<'a>,
}

impl<'a> Meter<'a> {
    pub fn new(max: u64, look: Look<'a>) -> Self {
        Self { done: Cell::new(0), total: Cell::new(0), max, look }
    }

    pub fn look(&self, file: &RemoteFile, path: &Path, file_bytes: u64) -> Result<()> {
        match (self.look)(file.last_segment(), path, file_bytes) {
            true => Ok(()),
            false => Err(Failure::cancelled()),
        }
    }

    /// Before anything is read: what the source says about its files.
    pub fn expect(&self, files: &[RemoteFile]) -> Result<()> {
        let total = files.iter().map(|file| file.size.unwrap_or(0)).fold(0, u64::saturating_add);
        self.total.set(total);
        if total > self.max {
            return Err(self.too_large(&format!("its files have {total} bytes")));
        }
        Ok(())
    }

    fn too_large(&self, what: &str) -> Failure {
        Failure::new(Kind::TooLarge, format!("{what}; at most {} are taken", self.max))
    }
}

/// The part of the meter that one file fills; gives back what was counted if the file starts over.
struct Share<'a> {
    meter: &'a Meter<'a>,
    counted: u64,
}

impl Share<'_> {
    fn set(&mut self, length: u64) -> Result<()> {
        let done = self.meter.done.get() - self.counted + length;
        self.counted = length;
        self.meter.done.set(done);
        self.meter.total.set(self.meter.total.get().max(done));
        if done > self.meter.max {
            return Err(self.meter.too_large("more bytes came than announced"));
        }
        Ok(())
    }
}

/// The file being written, and the checksum of what is in it.
struct Sink<'a> {
    path: &'a Path,
    file: File,
    length: u64,
    sha256: digest::Context,
    /// What the store says that the bytes should give, and what they give so far.
    expected: Option<Checksum>,
    crc: Option<crc_fast::Digest>,
}

impl<'a> Sink<'a> {
    /// Goes on after what is there, if that can still be part of `remote`.
    fn open(path: &'a Path, remote: &RemoteFile, expected: Option<Checksum>) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        let length = file.metadata()?.len();
        let sha256 = digest::Context::new(&digest::SHA256);
        let mut sink = Self { path, file, length: 0, sha256, expected: None, crc: None };
        sink.expect(expected);
        let of_this_file =
            remote.strong_etag().is_some() && remote.size.is_none_or(|size| length <= size);
        if length > 0 && of_this_file {
            sink.read_existing()?;
        } else {
            sink.restart()?;
        }
        Ok(sink)
    }

    fn read_existing(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 20];
        loop {
            let got = self.file.read(&mut buffer)?;
            if got == 0 {
                return Ok(());
            }
            self.count(&buffer[..got]);
        }
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.length = 0;
        self.sha256 = digest::Context::new(&digest::SHA256);
        self.expect(self.expected);
        Ok(())
    }

    /// Before the first byte is counted.
    fn expect(&mut self, expected: Option<Checksum>) {
        self.expected = expected;
        self.crc = match expected {
            Some(Checksum::Crc(algorithm, _)) => Some(crc_fast::Digest::new(algorithm)),
            _ => None,
        };
    }

    fn count(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(crc) = &mut self.crc {
            crc.update(bytes);
        }
        self.length += bytes.len() as u64;
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| Failure::of_file(self.path, &e))?;
        self.count(bytes);
        Ok(())
    }

    /// Whether the header of safetensors is here whole, or it is plain that there is none.
    fn has_header(&self, announced: u64) -> io::Result<bool> {
        if self.length < 8 {
            return Ok(false);
        }
        let mut length = [0; 8];
        self.file.read_exact_at(&mut length, 0)?;
        let header_bytes = u64::from_le_bytes(length);
        let enough = if header_bytes <= MAX_HEADER_BYTES { 8 + header_bytes } else { KIND_BYTES };
        Ok(self.length >= enough.min(announced))
    }

    /// Checks what arrived and makes it last.
    fn finish(mut self, remote: &RemoteFile, announced: Option<u64>) -> Result<String> {
        if let Some(size) = announced.filter(|&size| size != self.length) {
            let text = format!("{}: ended after {} of {size} bytes", remote.name, self.length);
            return Err(Failure::passing(text));
        }
        let sha256 = self.sha256.clone().finish();
        let text = hex(sha256.as_ref());
        let stored = match self.expected {
            Some(Checksum::Sha256(wanted)) => wanted == sha256.as_ref(),
            Some(Checksum::Crc(_, wanted)) => self.crc.is_none_or(|crc| crc.finalize() == wanted),
            None => true,
        };
        if !stored || remote.sha256.as_ref().is_some_and(|wanted| *wanted != text) {
            // What is there is of no use, and nothing may go on from it.
            self.restart().map_err(|e| Failure::of_file(self.path, &e))?;
            let text =
                format!("{}: its checksum is not the announced one (SHA-256 {text})", remote.name);
            return Err(Failure { next: Next::RetryOnce, ..Failure::source(text) });
        }
        self.file.sync_all().map_err(|e| Failure::of_file(self.path, &e))?;
        Ok(text)
    }
}

/// Brings `remote` into the file `incomplete`, whole and checked; gives its SHA-256.
pub async fn download(
    origin: &Origin<'_>,
    remote: &RemoteFile,
    incomplete: &Path,
    meter: &Meter<'_>,
    limits: &Limits,
) -> Result<String> {
    let mut share = Share { meter, counted: 0 };
    let mut failures = 0;
    let mut expected = None;
    loop {
        let before = share.counted;
        match attempt(origin, remote, incomplete, &mut share, &mut expected).await {
            Ok(sha256) => return Ok(sha256),
            Err(failure) => {
                // A source that breaks off again and again but gets further each time is still working.
                let further = share.counted >= before + PROGRESS_BYTES;
                failures = if further { 1 } else { failures + 1 };
                pause(limits, failures, failure).await?;
            }
        }
    }
}

async fn attempt(
    origin: &Origin<'_>,
    remote: &RemoteFile,
    incomplete: &Path,
    share: &mut Share<'_>,
    expected: &mut Option<Checksum>,
) -> Result<String> {
    let local = |e: io::Error| Failure::of_file(incomplete, &e);
    let mut sink = Sink::open(incomplete, remote, *expected).map_err(local)?;
    share.set(sink.length)?;
    if sink.length > 0 && remote.size == Some(sink.length) {
        return sink.finish(remote, remote.size);
    }
    let mut body = match origin.open(remote, sink.length).await {
        // The file ends before what is here does: it is none of its beginnings.
        Err(failure) if failure.http_status == 416 && sink.length > 0 => {
            sink.restart().map_err(local)?;
            return Err(Failure::passing(failure.text));
        }
        other => other?,
    };
    if body.start != sink.length {
        sink.restart().map_err(local)?;
        share.set(0)?;
    }
    if body.start == 0 {
        *expected = body.checksum;
        sink.expect(body.checksum);
    }
    let announced = body.total.or(remote.size);
    if remote.size.is_some_and(|size| body.total.is_some_and(|total| total != size)) {
        return Err(Failure::changed(&remote.name));
    }
    // Weights that do not fit are not worth the rest of their bytes.
    let mut unseen = announced.filter(|_| remote.is_safetensors());
    while let Some(chunk) = body.next().await? {
        share.set(sink.length + chunk.len() as u64)?;
        sink.write(&chunk)?;
        if let Some(file_bytes) = unseen {
            if sink.has_header(file_bytes).map_err(local)? {
                unseen = None;
                if let Err(failure) = share.meter.look(remote, incomplete, file_bytes) {
                    // These bytes may have come wrong: nothing may go on from them.
                    sink.restart().map_err(local)?;
                    return Err(failure);
                }
            }
        }
    }
    sink.finish(remote, announced)
}
