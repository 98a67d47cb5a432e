//! The settings as one table. Each row says once what a setting is called, means, may be, and is by default.
//!
//! The configuration reads by it, `--help` prints it, and a test compares the table of docs/configuration.md with it. A new setting is one
//! row here and one field of what uses it.

use super::settings_file;
use crate::access::AllowedHosts;
use crate::gate::{Limits, TrustedProxies};
use crate::log::Level;
use crate::refusals::ENTRIES_MAX;
use crate::webhook::meta::Statuses;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

pub(super) trait Setting: Sync {
    /// The row as people read it: name, meaning with unit and bounds, default.
    fn row(&self) -> [String; 3];
}

/// A value that only sender, reader or operator may know. With `_FILE` after its name it is in a file.
pub(super) struct Confidential {
    pub(super) name: &'static str,
    meaning: &'static str,
    /// What holds when it is not set.
    without: &'static str,
}

/// A value that `parse` understands. `form` completes the sentence "Set it to …".
pub(super) struct Text<T> {
    pub(super) name: &'static str,
    meaning: &'static str,
    pub(super) form: &'static str,
    pub(super) parse: fn(&str) -> Option<T>,
    pub(super) default: &'static str,
}

/// A URL that may hold a password. With `_FILE` after its name it is in a file.
pub(super) struct Url {
    pub(super) name: &'static str,
    meaning: &'static str,
    form: &'static str,
    pub(super) default: &'static str,
}

/// A whole number.
pub(super) struct Number {
    pub(super) name: &'static str,
    meaning: &'static str,
    pub(super) bounds: RangeInclusive<usize>,
    pub(super) default: usize,
}

macro_rules! settings {
    ($($NAME:ident: $Kind:ident $(<$T:ty>)? { $($field:ident: $value:expr),+ })+) => {
        $(pub(super) static $NAME: $Kind $(<$T>)? = $Kind { name: stringify!($NAME), $($field: $value),+ };)+

        static SETTINGS: &[&dyn Setting] = &[$(&$NAME),+];
    };
}

const DEFAULT: Limits = Limits::DEFAULT;
const DAYS: RangeInclusive<usize> = 0..=36_500; // up to a century
const MS: RangeInclusive<usize> = 1..=3_600_000; // up to an hour

settings! {
    WEBHOOK_INBOX_SETTINGS: Text<()> { meaning: "the settings file, only from the environment",
        form: "a file that exists", parse: |_| Some(()), default: settings_file::DEFAULT_PATH } // which may be missing
    WEBHOOK_SECRET: Confidential { meaning: "the secret that a sender of the native format signs with",
        without: "required, or else STANDARD_WEBHOOKS_SECRET or META_APP_SECRET" }
    WEBHOOK_SECRET_PREVIOUS: Confidential { meaning: "the secret before it, whose signatures are accepted too",
        without: "none" }
    STANDARD_WEBHOOKS_SECRET: Confidential {
        meaning: "the secret of Standard Webhooks: whsec_ and the base64 of 24 to 64 bytes",
        without: "none: those header fields are not looked at" }
    STANDARD_WEBHOOKS_SECRET_PREVIOUS: Confidential { meaning: "the secret before it, whose signatures are accepted too",
        without: "none" }
    META_APP_SECRET: Confidential { meaning: "the app secret in Meta's dashboard, which WhatsApp's deliveries are signed with",
        without: "none: the path of Meta is 404" }
    META_APP_SECRET_PREVIOUS: Confidential { meaning: "the secret before it, whose signatures are accepted too",
        without: "none" }
    META_VERIFY_TOKEN: Confidential { meaning: "a token of your choice, which Meta's dashboard asks for beside the callback URL",
        without: "none: that verification is 404" }
    META_STATUSES: Text<Statuses> { meaning: "whether Meta's statuses of outgoing messages are stored",
        form: "keep or drop", parse: Statuses::named, default: "keep" }
    READ_TOKEN: Confidential { meaning: "what reads, such as /messages and /metrics, require as Authorization: Bearer …",
        without: "none: every client may read" }
    ALLOWED_HOSTS: Text<AllowedHosts> {
        meaning: "without READ_TOKEN, the names that reads may use beside IP addresses and names without a dot",
        form: "host names without ports, separated by commas, for example inbox.example.com",
        parse: AllowedHosts::parse, default: "" }
    PAGE: Text<bool> { meaning: "whether /inbox has a page for people", form: "on or off",
        parse: on_or_off, default: "on" }
    DATABASE_URL: Url { meaning: "the database, a file in a directory that exists or a server of PostgreSQL",
        form: "sqlite:////absolute/path.db, sqlite:///./relative/path.db or postgres://user:password@host/database",
        default: "sqlite:////data/app.db" }
    RETENTION_DAYS: Number { meaning: "days that messages are kept after they arrived; 0 keeps them for ever",
        bounds: DAYS, default: 0 }
    STATUS_RETENTION_DAYS: Text<Option<usize>> {
        meaning: "days that statuses of outgoing messages are kept, 0 for ever, or as long as messages where it is not set",
        form: "a whole number from 0 to 36500", parse: days, default: "" }
    SEARCH_INDEX: Text<bool> { meaning: "whether there is an index of q, a fifth more for the disk", form: "on or off",
        parse: on_or_off, default: "on" }
    KEEP_REFUSED: Number {
        meaning: "requests that were refused and that /refusals shows, with their bodies, in memory; 0 keeps none",
        bounds: 0..=ENTRIES_MAX, default: ENTRIES_MAX }
    LISTEN_ADDR: Text<SocketAddr> { meaning: "where the service listens, on any free port if the port is 0",
        form: "an address and a port, for example 127.0.0.1:8000 or [::1]:8000",
        parse: |address| address.parse().ok(), default: "0.0.0.0:8000" }
    LOG_LEVEL: Text<Level> { meaning: "the lowest level that is logged, in upper or lower case",
        form: "DEBUG, INFO, WARNING or ERROR", parse: Level::named, default: "INFO" }
    TRUSTED_PROXIES: Text<TrustedProxies> { meaning: "the proxies in front, whose X-Forwarded-For is believed",
        form: "IP addresses or nets, separated by commas, for example 127.0.0.1,10.0.0.0/8",
        parse: TrustedProxies::parse, default: "" }
    WORKERS: Number { meaning: "threads that answer requests", bounds: 1..=1024, default: 4 }
    MAX_BODY_BYTES: Number { meaning: "bytes of the largest request body",
        bounds: 1..=1 << 30, default: DEFAULT.body_bytes_max }
    MAX_CONNECTIONS: Number { meaning: "client connections at once",
        bounds: 1..=65_536, default: DEFAULT.connections_max }
    MAX_HEAD_BYTES: Number { meaning: "bytes of the largest request head, which is the request line and the fields",
        bounds: 256..=1 << 20, default: DEFAULT.head_bytes_max }
    MAX_HEADER_FIELDS: Number { meaning: "header fields of a request", bounds: 8..=1024, default: DEFAULT.fields_max }
    MAX_HELD_BYTES: Number {
        meaning: "bytes of requests and answers in memory over all connections, at least MAX_BODY_BYTES",
        bounds: 1..=1 << 40, default: DEFAULT.held_bytes_max }
    HEAD_TIMEOUT_MS: Number { meaning: "milliseconds from the first byte of a request to the end of its head",
        bounds: MS, default: DEFAULT.head_time.as_millis() as usize }
    BODY_TIMEOUT_MS: Number { meaning: "milliseconds from the end of the head to the end of the body",
        bounds: MS, default: DEFAULT.body_time.as_millis() as usize }
    IDLE_TIMEOUT_MS: Number { meaning: "milliseconds that a connection may wait for its next request",
        bounds: MS, default: DEFAULT.idle_time.as_millis() as usize }
    WRITE_TIMEOUT_MS: Number { meaning: "milliseconds that a client may take to read its answer",
        bounds: MS, default: DEFAULT.write_time.as_millis() as usize }
    MAX_WAITERS: Number { meaning: "requests that may wait at /arrivals at once", bounds: 0..=512,
        default: DEFAULT.waiters_max } // half of the gate's queue, where all of them may stand when they are asked again
}

impl Setting for Confidential {
    fn row(&self) -> [String; 3] {
        [self.name, self.meaning, self.without].map(str::to_owned)
    }
}

impl Setting for Url {
    fn row(&self) -> [String; 3] {
        [self.name.to_owned(), format!("{}: {}", self.meaning, self.form), self.default.to_owned()]
    }
}

impl<T> Setting for Text<T> {
    fn row(&self) -> [String; 3] {
        let default = if self.default.is_empty() { "none" } else { self.default };
        [self.name.to_owned(), format!("{}: {}", self.meaning, self.form), default.to_owned()]
    }
}

impl Setting for Number {
    fn row(&self) -> [String; 3] {
        let meaning = format!("{}, {} to {}", self.meaning, self.bounds.start(), self.bounds.end());
        [self.name.to_owned(), meaning, self.default.to_string()]
    }
}

fn on_or_off(word: &str) -> Option<bool> {
    ["off", "on"].iter().position(|known| *known == word).map(|index| index == 1)
}

/// None when it is left to another setting.
fn days(text: &str) -> Option<Option<usize>> {
    if text.is_empty() {
        return Some(None);
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|days| digits && DAYS.contains(days)).map(Some)
}

fn rows() -> impl Iterator<Item = [String; 3]> {
    SETTINGS.iter().map(|setting| setting.row())
}

/// The table for `serve --help`: of each setting its name and default, and below them its meaning.
pub fn help() -> String {
    rows().map(|[name, meaning, default]| format!("  {name} ({default})\n{}", wrapped(meaning.split(' '), 6))).collect()
}

/// The names for the general help.
pub fn names() -> String {
    let names: Vec<String> = rows().map(|[name, ..]| name).collect();
    wrapped(names.iter().map(String::as_str), 2)
}

/// Words in lines of at most 120 columns.
fn wrapped<'a>(words: impl Iterator<Item = &'a str>, indent: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut().filter(|line| line.chars().count() + 1 + word.chars().count() <= 120) {
            Some(line) => *line += &format!(" {word}"),
            None => lines.push(format!("{:indent$}{word}", "")),
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_readme_md_is_this_one() {
        let row = |[name, meaning, default]: [String; 3]| format!("| `{name}` | {meaning} | {default} |\n");
        let table: String = rows().map(row).collect();
        let head = "| name | meaning, unit and bounds | default |\n|---|---|---|\n";
        let page = include_str!("../../docs/configuration.md");
        assert!(page.contains(&format!("\n{head}{table}\n")), "docs/configuration.md needs:\n{head}{table}");
    }
}
