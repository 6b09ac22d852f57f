//! Which files make an adapter, and what identifies one version of them. The list of their names comes from
//! the caller: paths in the adapter's directory, none of which leads out of it.

use ring::digest;
use std::fmt::Write;

pub const CONFIG: &str = "adapter_config.json";
const WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];

/// A file as its source describes it before a byte of it is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its path in the adapter's directory; of a Hub's, in the repository.
    pub name: String,
    /// Where it is: a URL, or an object's key.
    pub location: String,
    pub size: Option<u64>,
    /// As the server wrote it, quotes and W/ included.
    pub etag: Option<String>,
    pub modified: Option<String>,
    /// Lower-case hex.
    pub sha256: Option<String>,
}

impl RemoteFile {
    pub fn is_config(&self) -> bool {
        self.last_segment() == CONFIG
    }

    pub fn is_safetensors(&self) -> bool {
        self.last_segment() == WEIGHTS[0]
    }

    pub fn last_segment(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    /// Two transfers with the same strong ETag are the same bytes, so one can go on where the other ended.
    pub fn strong_etag(&self) -> Option<&str> {
        self.etag.as_deref().filter(|etag| !etag.starts_with("W/"))
    }

    fn identity(&self) -> Option<String> {
        let size = self.size.map_or(String::new(), |size| size.to_string());
        let version = self.etag.as_ref().or(self.modified.as_ref())?;
        Some(format!("{}\n{version}\n{size}\n", self.name))
    }
}

/// The files to fetch out of those that are there, or the name of what is missing. A name becomes one on our
/// disk, so it must be `known`, letter for letter. Pickled weights are left where the same weights are also
/// there in the safe form.
pub fn choose(known: &[&str], mut found: Vec<RemoteFile>) -> Result<Vec<RemoteFile>, &'static str> {
    let has = |found: &[RemoteFile], name: &str| found.iter().any(|file| file.name == name);
    found.retain(|file| known.contains(&file.name.as_str()));
    if !has(&found, CONFIG) {
        return Err(CONFIG);
    }
    if has(&found, WEIGHTS[0]) {
        found.retain(|file| file.name != WEIGHTS[1]);
    } else if !has(&found, WEIGHTS[1]) {
        return Err(WEIGHTS[0]);
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The folder that a file lies in; empty: the adapter's directory itself.
pub fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The archive's ending, if the location names one.
pub fn archive_suffix(path: &str) -> Option<&'static str> {
    let lower = path.to_ascii_lowercase();
    [".tar.gz", ".tgz", ".tar", ".zip"].into_iter().find(|suffix| lower.ends_with(suffix))
}

/// One text for one version of all files; None if a file has neither ETag nor date.
pub fn revision(files: &[RemoteFile]) -> Option<String> {
    let identities: Option<String> = files.iter().map(RemoteFile::identity).collect();
    identities.map(|all| hex(digest::digest(&digest::SHA256, all.as_bytes()).as_ref()))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 6] = [
        CONFIG,
        WEIGHTS[1],
        WEIGHTS[0],
        "more/tool_use.jinja",
        "chat_template.jinja",
        "tokenizer.json",
    ];

    fn files(names: &[&str]) -> Vec<RemoteFile> {
        names.iter().map(|&name| RemoteFile { name: name.into(), ..Default::default() }).collect()
    }

    #[test]
    fn only_an_adapters_files_are_chosen() {
        let found = files(&[
            "README.md",
            "adapter_model.bin",
            "adapter_model.safetensors",
            "adapter_config.json",
            "tokenizer.json",
            "chat_template.jinja",
            "training_args.bin",
            "optimizer.pt",
            "model.safetensors",
            "tokenizer_extra.json",
            "more/tool_use.jinja",
            "more/other.jinja",
            "more/tool_use.jinja/adapter_config.json",
            "more/../tokenizer.json",
            "more//tool_use.jinja",
            "../more/tool_use.jinja",
            "/more/tool_use.jinja",
            "deeper/more/tool_use.jinja",
            "tool_use.jinja",
            "../adapter_config.json",
            "tokenizer/../../evil.json",
            "tokenizer/evil.json",
            "tokenizer\0.json",
        ]);
        let names: Vec<String> =
            choose(&KNOWN, found).unwrap().into_iter().map(|file| file.name).collect();
        assert_eq!(
            names,
            [
                "adapter_config.json",
                "adapter_model.safetensors",
                "chat_template.jinja",
                "more/tool_use.jinja",
                "tokenizer.json",
            ]
        );
        assert!(choose(&KNOWN, files(&[CONFIG, "adapter_model.bin"])).is_ok());
        assert_eq!(choose(&KNOWN, files(&["adapter_model.bin"])), Err(CONFIG));
        assert_eq!(choose(&KNOWN, files(&[CONFIG])), Err("adapter_model.safetensors"));
    }

    #[test]
    fn a_revision_needs_and_follows_every_files_version() {
        let mut two = files(&["a", "b"]);
        assert_eq!(revision(&two), None);
        two[0].etag = Some("\"1\"".into());
        assert_eq!(revision(&two), None);
        two[1].modified = Some("yesterday".into());
        let first = revision(&two).unwrap();
        two[1].size = Some(3);
        assert_ne!(revision(&two).unwrap(), first);
        assert_eq!(revision(&two), revision(&two.clone()));
    }

    #[test]
    fn archives_are_known_by_their_ending() {
        assert_eq!(archive_suffix("/a/B.TAR.GZ"), Some(".tar.gz"));
        assert_eq!(archive_suffix("x.zip"), Some(".zip"));
        assert_eq!(archive_suffix("zip"), None);
        assert_eq!(archive_suffix("a.tar/"), None);
    }
}
