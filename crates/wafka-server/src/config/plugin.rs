//! `[[plugins]]`: the libraries to load.

use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use wafka_plugin::PluginFile;
use wafka_plugin::file::parse_hex;

/// `[[plugins]]`: a library to load.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginConfig {
    /// The library's file; a relative path is relative to the working directory, as that of the data.
    pub path: PathBuf,
    /// The checksum that the file must have; any when unset.
    #[serde(default, deserialize_with = "sha256")]
    pub sha256: Option<[u8; 32]>,
}

impl PluginConfig {
    /// The file, by a path that tells people where it was looked for.
    #[must_use]
    pub fn file(&self) -> PluginFile {
        // Without a working directory the relative path leads nowhere either, and is named as it is.
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        PluginFile { path, sha256: self.sha256 }
    }
}

fn sha256<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<[u8; 32]>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let found = || {
        D::Error::custom(format!(
            "sha256: found '{text}', expected 64 hexadecimal digits, as sha256sum prints them"
        ))
    };
    parse_hex(&text).map(Some).ok_or_else(found)
}
