//! The settings file: one place for the settings that the service and the commands share.
//!
//! The format is that of systemd's `EnvironmentFile=` (systemd.exec(5)), because the unit loads the same file: `NAME=VALUE`
//! lines, comments, and quotes around a whole value. What systemd would read by further rules (escapes, quotes within a
//! value, lines that continue) is refused, so that systemd and the commands never see different values.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// The file that `deploy/install.sh` writes and `deploy/webhook-inbox.service` loads.
pub(super) const DEFAULT_PATH: &str = "/etc/webhook-inbox/webhook-inbox.env";

/// Most bytes of the file: a path to something else, such as /dev/zero, does not fill the memory.
const BYTES_MAX: u64 = 64 << 10;

/// Settings by name.
pub(super) type Settings = HashMap<String, String>;

/// Reads the file that `WEBHOOK_INBOX_SETTINGS` names, or else the default one, which may be missing. The error says why
/// the file cannot be used.
pub(super) fn read(named: Option<OsString>) -> Result<Settings, String> {
    let may_be_missing = named.is_none();
    let path = named.map_or_else(|| PathBuf::from(DEFAULT_PATH), PathBuf::from);
    let mut bytes = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes));
    match read.map_err(|error| (error.kind(), error)) {
        Err((ErrorKind::NotFound, _)) if may_be_missing => return Ok(Settings::new()),
        Err((ErrorKind::NotFound, _)) => {
            let path = path.display();
            return Err(format!("WEBHOOK_INBOX_SETTINGS: there is no file {path}. Create it, or name another."));
        }
        Err((ErrorKind::PermissionDenied, error)) => {
            return Err(format!(
                "the settings in {} cannot be read: {error}. Run the command with sudo.",
                path.display()
            ));
        }
        Err((_, error)) => return Err(format!("the settings in {} cannot be read: {error}", path.display())),
        Ok(_) => {}
    }
    if bytes.len() as u64 > BYTES_MAX {
        return Err(format!("{} has more than {BYTES_MAX} bytes, so it is not a settings file.", path.display()));
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8 text.", path.display()))?;
    parse(&text).map_err(|(line, what)| in_line(&path, line, what))
}

fn in_line(path: &Path, line: usize, what: &str) -> String {
    format!("line {line} of {}: {what}", path.display())
}

/// The error has the number of the line, from 1 on. It never quotes the line, which may hold a secret.
fn parse(text: &str) -> Result<Settings, (usize, &'static str)> {
    let mut settings = Settings::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_matches(BLANKS);
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let (name, value) = parse_line(line).map_err(|what| (number, what))?;
        settings.insert(name.to_owned(), value.to_owned()); // of two lines the last one counts, as for systemd
    }
    Ok(settings)
}

/// What systemd takes for white space within a line.
const BLANKS: [char; 3] = [' ', '\t', '\r'];

fn parse_line(line: &str) -> Result<(&str, &str), &'static str> {
    let (name, value) =
        line.split_once('=').ok_or("there is no `=` in it. Write NAME=VALUE, or # before a comment.")?;
    let (name, value) = (name.trim_matches(BLANKS), value.trim_matches(BLANKS));
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_name || name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("what is before `=` is not the name of a setting. Write NAME=VALUE, without `export`.");
    }
    let unquoted = ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    let value = unquoted.unwrap_or(value);
    if value.contains(['"', '\'', '\\']) {
        return Err(
            "the value holds a quote or a backslash. Put such a value into a file, and name it with NAME_FILE.",
        );
    }
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_systemd_reads_them() {
        let text =
            "# a comment\n; another\n\n  A=1\nB = two words \nC=\"in quotes \"\nD='x'\nE=\nF=a=b # c\r\nA=2\n_G1=$x";
        let right = [("A", "2"), ("B", "two words"), ("C", "in quotes "), ("D", "x"), ("E", ""), ("F", "a=b # c")];
        let right = right.into_iter().chain([("_G1", "$x")]);
        assert_eq!(parse(text), Ok(right.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()));
    }

    #[test]
    fn a_line_that_systemd_would_read_by_further_rules_is_refused_with_its_number() {
        for line in [
            "A",
            "=1",
            "export A=1",
            "1A=1",
            "A-B=1",
            "A=\"1",
            "A=1\"",
            "A=\"1\"2",
            "A='1'2'",
            "A=a\\nb",
            "A=continued \\",
            "A='",
        ] {
            let refused = parse(&format!("B=1\n\n{line}\n"));
            assert!(matches!(refused, Err((3, _))), "{line}: {refused:?}");
        }
    }
}
