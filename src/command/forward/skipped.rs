//! The file of what could not be delivered: a line of JSON for each post that was given up.

use crate::command::{Failure, sync_directory};
use crate::log::json_line;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{Error, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

/// One post.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    /// Of its first message.
    pub(super) seq: i64,
    /// Of its last message.
    pub(super) last_seq: i64,
    /// Why it was given up.
    pub(super) reason: &'a str,
    /// The header lines of its signature.
    pub(super) fields: Vec<&'a str>,
    pub(super) body: &'a str,
}

/// The file, which need not be there yet.
pub(super) struct Skipped(PathBuf);

impl Skipped {
    pub(super) fn at(path: PathBuf) -> Result<Skipped, Failure> {
        let named = |error: Error| Failure::failed(format!("{}: {error}", path.display()));
        std::path::absolute(&path).map(Skipped).map_err(named)
    }

    /// Brings a line to the disk.
    pub(super) fn append(&self, line: &Line<'_>) -> Result<(), Failure> {
        let append = || {
            // It holds messages, so it is for its owner alone.
            let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&self.0)?;
            if !ends_in_newline(&file)? {
                file.write_all(b"\n")?; // a full disk has cut off the line before
            }
            file.write_all(&json_line(line))?;
            file.sync_all()?;
            sync_directory(&self.0)
        };
        append().map_err(|error: Error| {
            Failure::failed(format!("cannot write {}: {error}. Seq {} was not skipped.", self.name(), line.seq))
        })
    }

    pub(super) fn name(&self) -> std::path::Display<'_> {
        self.0.display()
    }
}

/// An empty file does, too.
fn ends_in_newline(file: &File) -> std::io::Result<bool> {
    let mut last = [b'\n'];
    if let Some(at) = file.metadata()?.len().checked_sub(1) {
        file.read_exact_at(&mut last, at)?;
    }
    Ok(last == [b'\n'])
}
