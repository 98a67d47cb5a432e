//! The settings, read once, and taken apart into each part's own options.
//!
//! [`table`] says of each setting all that is known before it is read. A setting comes from the environment, or else from
//! the settings file, which the commands and the service share. Every value is checked at the start and every fault
//! reported, not just the first. No module below reads the environment. A secret may also be in a file that a variable
//! names, or among the credentials that systemd has loaded; no fault ever quotes it.

mod table;

mod settings_file;

pub use table::{help, names};

use crate::access::{Access, ReadToken};
use crate::delivery::Source;
use crate::gate;
use crate::log::Level;
use crate::store::{self, Location, without_password};
use crate::webhook::diagnosis::Lookalikes;
use crate::webhook::meta::{Meta, VerifyToken};
use crate::webhook::{Secret, Secrets, Sources};
use settings_file::Settings;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::mem::take;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::Duration;
use table::{Confidential, Number, Text};

/// All settings, checked.
pub struct Config {
    /// The secrets of each source that is configured; at least one is.
    pub sources: Sources,
    /// `READ_TOKEN` or, without it, `ALLOWED_HOSTS`.
    pub access: Access,
    /// `PAGE`: whether the page at /inbox is served.
    pub page: bool,
    /// `DATABASE_URL`, and a part of the workers.
    pub store: store::Options,
    /// `KEEP_REFUSED`: most refused requests that are kept in memory.
    pub keep_refused: usize,
    /// `LOG_LEVEL`.
    pub log_level: Level,
    /// `LISTEN_ADDR`; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// `WORKERS`: threads that answer requests.
    pub workers: usize,
    /// `MAX_CONNECTIONS`, `MAX_BODY_BYTES` and the other bounds of the gate.
    pub limits: gate::Limits,
    /// `TRUSTED_PROXIES`: whose `X-Forwarded-For` is believed.
    pub trusted_proxies: gate::TrustedProxies,
    /// What can be used but is probably a mistake, a sentence each.
    pub warnings: Vec<String>,
    /// What each setting is and where it comes from, a line each. A secret is only "set".
    pub effective: Vec<String>,
}

/// What is wrong with the environment, a line for each variable.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError(Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// Most bytes of a file with a secret in it: a path to something else, such as /dev/zero, does not fill the memory.
const SECRET_BYTES_MAX: u64 = 64 << 10;

impl Config {
    /// Reads the process's environment, and the settings file.
    pub fn from_env() -> Result<Config, ConfigError> {
        Config::read(&process_environment)
    }

    /// The secret of a source alone, for a command that signs; its text too, because `verify` also tries what is like it.
    pub fn secret(source: Source) -> Result<(Secret, Vec<u8>), ConfigError> {
        let mut reader = Reader::new(&process_environment);
        let [current, _] = settings(source);
        let secret = reader.secret(source, current);
        if secret.is_none() && reader.faults.is_empty() {
            reader.not_set(source);
        }
        reader.finish(secret)
    }

    /// The name of the setting with the secret before it, and the secret, if there is one.
    pub fn previous_secret(source: Source) -> Result<Option<(&'static str, Secret)>, ConfigError> {
        let mut reader = Reader::new(&process_environment);
        let [_, previous] = settings(source);
        let secret = reader.secret(source, previous);
        reader.finish(Some(secret.map(|(secret, _)| (previous.name, secret))))
    }

    /// `DATABASE_URL` alone, for a command that works on the database.
    pub fn database() -> Result<Location, ConfigError> {
        let mut reader = Reader::new(&process_environment);
        let database = reader.database();
        reader.finish(database)
    }

    /// `LISTEN_ADDR` alone, for a command that asks a running service.
    pub fn listen_address() -> Result<SocketAddr, ConfigError> {
        let mut reader = Reader::new(&process_environment);
        let address = reader.text(&table::LISTEN_ADDR);
        reader.finish(Some(address))
    }

    /// `READ_TOKEN` alone, for a command that reads from a running service.
    pub fn read_token() -> Result<Option<String>, ConfigError> {
        let mut reader = Reader::new(&process_environment);
        let token = reader.optional(&table::READ_TOKEN);
        let token = token.filter(|token| reader.read_token(token).is_some());
        reader.finish(Some(token.and_then(|token| String::from_utf8(token).ok())))
    }

    fn read(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Config, ConfigError> {
        let mut reader = Reader::new(variable);
        let sources = reader.sources();
        let access = reader.access();
        let page = reader.text(&table::PAGE);
        let database = reader.database();
        let messages = reader.number(&table::RETENTION_DAYS);
        let statuses = reader.text(&table::STATUS_RETENTION_DAYS).unwrap_or(messages);
        let retention = store::Retention { messages: age(messages), statuses: age(statuses) };
        let search_index = reader.text(&table::SEARCH_INDEX);
        let keep_refused = reader.number(&table::KEEP_REFUSED);
        let listen = reader.text(&table::LISTEN_ADDR);
        let log_level = reader.text(&table::LOG_LEVEL);
        let trusted_proxies = reader.text(&table::TRUSTED_PROXIES);
        let workers = reader.number(&table::WORKERS);
        // A search keeps a worker busy for as long as it takes. One is left for deliveries, and one for other reads.
        let searches_max = workers.saturating_sub(2).max(1);
        let limits = reader.limits();
        let (warnings, effective) = (take(&mut reader.warnings), take(&mut reader.effective));
        reader.finish(database.map(|database| Config {
            sources,
            access,
            page,
            store: store::Options { database, retention, searches_max, search_index },
            keep_refused,
            log_level,
            listen,
            workers,
            limits,
            trusted_proxies,
            warnings,
            effective,
        }))
    }
}

/// None for 0 days, which is for ever.
fn age(days: usize) -> Option<Duration> {
    (days > 0).then(|| Duration::from_secs(days as u64 * 86_400))
}

/// The settings with the secret of a source, and with the one before it.
fn settings(source: Source) -> [&'static Confidential; 2] {
    match source {
        Source::Native => [&table::WEBHOOK_SECRET, &table::WEBHOOK_SECRET_PREVIOUS],
        Source::Standard => [&table::STANDARD_WEBHOOKS_SECRET, &table::STANDARD_WEBHOOKS_SECRET_PREVIOUS],
        Source::Meta => [&table::META_APP_SECRET, &table::META_APP_SECRET_PREVIOUS],
    }
}

fn process_environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Reads settings, and collects what there is to say of them. An empty value counts as one that is not set.
///
/// A setting that cannot be used is a fault, and its default is returned so that the others are read too. Only
/// [`Reader::finish`] lets a result out, and only without faults.
struct Reader<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// What the settings file has, or why it cannot be used: a fault only once a setting is looked up in it.
    file: Result<Settings, String>,
    faults: Vec<String>,
    warnings: Vec<String>,
    effective: Vec<String>,
}

impl<'a> Reader<'a> {
    fn new(variable: &'a dyn Fn(&str) -> Option<OsString>) -> Reader<'a> {
        let file = Ok(Settings::new());
        let mut reader = Reader { variable, file, faults: Vec::new(), warnings: Vec::new(), effective: Vec::new() };
        reader.text(&table::WEBHOOK_INBOX_SETTINGS);
        reader.file = settings_file::read(reader.variable(table::WEBHOOK_INBOX_SETTINGS.name));
        reader
    }

    /// The value, which is there unless a fault was found, or all faults.
    fn finish<T>(self, value: Option<T>) -> Result<T, ConfigError> {
        match value {
            Some(value) if self.faults.is_empty() => Ok(value),
            _ => Err(ConfigError(self.faults)),
        }
    }

    fn fault(&mut self, fault: String) {
        // A settings file that cannot be used is found again by each setting that is looked up in it.
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    fn variable(&self, name: &str) -> Option<OsString> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    fn in_file(&self, name: &str) -> Result<Option<OsString>, String> {
        let settings = self.file.as_ref().map_err(String::clone)?;
        Ok(settings.get(name).filter(|value| !value.is_empty()).map(OsString::from))
    }

    fn sources(&mut self) -> Sources {
        let mut missing = 0;
        let mut lookalikes = <[Lookalikes; Source::ALL.len()]>::default();
        let [native, standard, meta] =
            Source::ALL.map(|source| self.secrets(source, &mut missing, &mut lookalikes[source as usize]));
        let meta = self.meta(meta);
        if missing == Source::ALL.len() {
            self.not_set(Source::Native);
        }
        Sources { native, standard, meta, lookalikes }
    }

    /// What goes with the secrets of Meta.
    fn meta(&mut self, secrets: Option<Secrets>) -> Option<Meta> {
        let token = self.optional(&table::META_VERIFY_TOKEN);
        let statuses = self.text(&table::META_STATUSES);
        let verify_token = token.as_deref().and_then(|token| {
            let verify_token = VerifyToken::new(token);
            if verify_token.is_none() {
                self.fault("META_VERIFY_TOKEN is only white space. Set it to what Meta's dashboard has.".to_owned());
            }
            verify_token
        });
        if secrets.is_none() && verify_token.is_some() {
            let (name, secret) = (table::META_VERIFY_TOKEN.name, table::META_APP_SECRET.name);
            self.warnings.push(format!("{name} is not used, because {secret} is not set. Set both."));
        }
        Some(Meta { secrets: secrets?, verify_token, statuses })
    }

    /// The secrets of a source; None after a fault, and when it is not configured, which is counted as `missing`.
    fn secrets(&mut self, source: Source, missing: &mut usize, lookalikes: &mut Lookalikes) -> Option<Secrets> {
        let [current, previous] = settings(source);
        let faults = self.faults.len();
        let secret = self.secret(source, current);
        *missing += usize::from(secret.is_none() && self.faults.len() == faults);
        match (secret, self.secret(source, previous)) {
            (Some((current, text)), previous) => {
                *lookalikes = Lookalikes::of(source, &text);
                Some(Secrets { current, previous: previous.map(|(secret, _)| secret) })
            }
            (None, Some(_)) => {
                let what = "is not used, because";
                self.warnings.push(format!("{} {what} {} is not set. Set both.", previous.name, current.name));
                None
            }
            (None, None) => None,
        }
    }

    /// A secret, and its text; None when it is not set, or after a fault.
    fn secret(&mut self, source: Source, setting: &Confidential) -> Option<(Secret, Vec<u8>)> {
        let value = self.optional(setting)?;
        match source {
            Source::Native if value.ends_with(b"\n") => self.warnings.push(format!(
                "{} ends in a newline, which is part of the secret. If the sender's secret has none, every signature is \
                 wrong: remove it.",
                setting.name
            )),
            Source::Native | Source::Standard | Source::Meta => {}
        }
        let secret = source.secret(&value).map_err(|why| self.fault(format!("{} cannot be used: {why}", setting.name)));
        secret.ok().map(|secret| (secret, value))
    }

    fn not_set(&mut self, source: Source) {
        let [Confidential { name, .. }, _] = settings(source);
        self.fault(match source {
            Source::Native => format!(
                "{name} is not set, so no signature could be checked. Set it to the secret that the sender signs with, for \
                 example to the output of: openssl rand -hex 32; or {name}_FILE to a file with it. For a sender of Standard \
                 Webhooks set STANDARD_WEBHOOKS_SECRET; for WhatsApp's Cloud API, META_APP_SECRET."
            ),
            Source::Meta => format!(
                "{name} is not set, so no signature can be made or checked. Set it to the app secret, which Meta's \
                 dashboard shows under App settings, Basic."
            ),
            Source::Standard => format!(
                "{name} is not set, so no signature can be made or checked. Set it to the secret that the sender signs \
                 with, for example to the output of: echo whsec_$(openssl rand -base64 32)"
            ),
        });
    }

    fn access(&mut self) -> Access {
        let token = self.optional(&table::READ_TOKEN);
        let hosts = Access::Hosts(self.text(&table::ALLOWED_HOSTS));
        token.and_then(|token| self.read_token(&token)).map_or(hosts, Access::Token)
    }

    /// None after a fault.
    fn read_token(&mut self, token: &[u8]) -> Option<ReadToken> {
        let token = ReadToken::new(token);
        if token.is_none() {
            self.fault(
                "READ_TOKEN contains a character that cannot be sent in Authorization: Bearer. Set it to letters, \
                 digits and -._~+/ (and = at the end), for example to the output of: openssl rand -hex 32"
                    .to_owned(),
            );
        }
        token
    }

    /// A confidential value that need not be there. None after a fault, too.
    fn optional(&mut self, setting: &Confidential) -> Option<Vec<u8>> {
        self.confidential(setting).map_err(|fault| self.fault(fault)).unwrap_or_default()
    }

    /// A confidential value, if it is set, or the fault in it.
    fn confidential(&mut self, setting: &Confidential) -> Result<Option<Vec<u8>>, String> {
        let found = self.lookup(setting.name)?;
        let origin = found.as_ref().map_or("not set".to_owned(), |(_, origin)| format!("set ({origin})"));
        self.effective.push(format!("{}: {origin}", setting.name));
        Ok(found.map(|(value, _)| value))
    }

    /// `DATABASE_URL`; None after a fault. Its password is not shown.
    fn database(&mut self) -> Option<Location> {
        let setting = &table::DATABASE_URL;
        let found = self.lookup(setting.name).map_err(|fault| self.fault(fault)).ok()?;
        let (url, origin) = found.unwrap_or_else(|| (setting.default.into(), "default".to_owned()));
        let url = String::from_utf8_lossy(&url);
        let (name, shown) = (setting.name, without_password(&url));
        self.effective.push(format!("{name}: {shown} ({origin})"));
        Location::parse(&url).map_err(|why| self.fault(format!("{name} is {shown:?}, {why}."))).ok()
    }

    /// A value that may be in a file, and where it was found; or the fault.
    ///
    /// It is the variable itself; or the credential `NAME` that systemd has loaded (`LoadCredential=`), which stands for
    /// the file that `NAME_FILE` names where the service may not read that; or what is in this file. The settings file is
    /// asked only when the environment has none of these: a variable there does not contradict the file's `NAME_FILE`.
    fn lookup(&self, name: &str) -> Result<Option<(Vec<u8>, String)>, String> {
        let name_file = format!("{name}_FILE");
        let (mut value, mut path, mut place) = (self.variable(name), self.variable(&name_file), "environment");
        let credential = self.variable("CREDENTIALS_DIRECTORY").map(|directory| Path::new(&directory).join(name));
        let credential = credential.filter(|path| value.is_none() && path.symlink_metadata().is_ok());
        if value.is_none() && path.is_none() && credential.is_none() {
            (value, path, place) = (self.in_file(name)?, self.in_file(&name_file)?, "settings file");
        }
        Ok(match (value, credential, path) {
            (Some(_), _, Some(_)) => {
                return Err(format!("{name} and {name_file} are both set. Set only one of them."));
            }
            (Some(value), ..) => Some((value.into_vec(), place.to_owned())),
            (None, Some(path), _) => {
                let secret = secret_in(&path).map_err(|error| format!("the credential {name}: {error}"))?;
                Some((secret, "credential".to_owned()))
            }
            (None, None, Some(path)) => {
                let path = Path::new(&path);
                let secret = secret_in(path).map_err(|error| format!("{name_file}: {error}"))?;
                Some((secret, format!("file {}", path.display())))
            }
            (None, None, None) => None,
        })
    }

    /// The defaults and their reasons are those of [`gate::Limits::DEFAULT`].
    fn limits(&mut self) -> gate::Limits {
        let body_bytes_max = self.number(&table::MAX_BODY_BYTES);
        gate::Limits {
            connections_max: self.number(&table::MAX_CONNECTIONS),
            head_bytes_max: self.number(&table::MAX_HEAD_BYTES),
            fields_max: self.number(&table::MAX_HEADER_FIELDS),
            body_bytes_max,
            // No less than one body, or the largest could never be taken.
            held_bytes_max: self.number_from(body_bytes_max, &table::MAX_HELD_BYTES),
            head_time: self.time(&table::HEAD_TIMEOUT_MS),
            body_time: self.time(&table::BODY_TIMEOUT_MS),
            idle_time: self.time(&table::IDLE_TIMEOUT_MS),
            write_time: self.time(&table::WRITE_TIMEOUT_MS),
            waiters_max: self.number(&table::MAX_WAITERS),
        }
    }

    fn time(&mut self, setting: &Number) -> Duration {
        Duration::from_millis(self.number(setting) as u64)
    }

    fn number(&mut self, setting: &Number) -> usize {
        self.number_from(*setting.bounds.start(), setting)
    }

    fn number_from(&mut self, min: usize, setting: &Number) -> usize {
        let bounds = min..=*setting.bounds.end();
        let parse = |value: &str| {
            let digits = value.bytes().all(|byte| byte.is_ascii_digit()); // str::parse takes a sign
            value.parse().ok().filter(|number| digits && bounds.contains(number))
        };
        let right = format!("a whole number from {min} to {}", bounds.end());
        self.value(setting.name, &setting.default.max(min).to_string(), parse, &right)
    }

    fn text<T>(&mut self, setting: &Text<T>) -> T {
        self.value(setting.name, setting.default, setting.parse, setting.form)
    }

    /// The value of a setting or its default; the default and a fault, when it cannot be used.
    fn value<T>(&mut self, name: &str, default: &str, parse: impl Fn(&str) -> Option<T>, right: &str) -> T {
        let found = match self.variable(name) {
            Some(value) => Some((value, "environment")),
            None => {
                let value = self.in_file(name).map_err(|fault| self.fault(fault)).unwrap_or_default();
                value.map(|value| (value, "settings file"))
            }
        };
        let (value, origin) = found.unwrap_or_else(|| (default.into(), "default"));
        let value = value.to_string_lossy();
        let parsed = parse(&value);
        match parsed {
            Some(_) if value.is_empty() => self.effective.push(format!("{name}: none ({origin})")),
            Some(_) => self.effective.push(format!("{name}: {value} ({origin})")),
            None => self.fault(format!("{name} is {value:?}, which cannot be used. Set it to {right}.")),
        }
        parsed.unwrap_or_else(|| parse(default).expect("a default can be used"))
    }
}

/// The content of a file without the end of its last line, which editors and `openssl rand` put there.
fn secret_in(path: &Path) -> Result<Vec<u8>, String> {
    let mut secret = Vec::new();
    let read = File::open(path).and_then(|file| file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut secret));
    let path = path.display();
    read.map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("there is no file {path}. Create it, or name another."),
        ErrorKind::PermissionDenied => {
            format!(
                "{path} cannot be read: {error}. Run a command with sudo; under systemd, load it with LoadCredential=."
            )
        }
        _ => format!("{path} cannot be read: {error}"),
    })?;
    if secret.len() as u64 > SECRET_BYTES_MAX {
        return Err(format!(
            "{path} has more than {SECRET_BYTES_MAX} bytes, so it holds no secret. Name another file."
        ));
    }
    let without_end = secret.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let length = without_end.map_or(secret.len(), <[u8]>::len);
    secret.truncate(length);
    if secret.is_empty() {
        return Err(format!("{path} is empty. Write the secret into it."));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::read(&|name| {
            let nowhere = ("WEBHOOK_INBOX_SETTINGS", "/dev/null"); // not those of the machine that runs the tests
            environment.iter().chain([&nowhere]).find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let config = read(&[("WEBHOOK_SECRET", "s")]).unwrap();
        assert_eq!(config.store.database.to_string(), "/data/app.db");
        assert_eq!(config.log_level, Level::Info);
        assert_eq!(config.listen.to_string(), "0.0.0.0:8000");
        assert_eq!((config.workers, config.limits), (4, gate::Limits::DEFAULT));
        assert_eq!(config.trusted_proxies, gate::TrustedProxies::default());
    }

    #[test]
    fn every_fault_is_reported_with_the_variable_the_value_and_what_would_be_right() {
        let variables = [
            ("DATABASE_URL", "mysql://x"),
            ("LOG_LEVEL", "loud"),
            ("LISTEN_ADDR", "8000"),
            ("WORKERS", "0"),
            ("MAX_BODY_BYTES", "4M"),
            ("TRUSTED_PROXIES", "localhost"),
        ];
        let Err(error) = read(&variables) else { panic!("taken") };
        let error = error.to_string();
        assert_eq!(error.lines().count(), 7, "{error}");
        for (name, value) in variables {
            assert!(error.contains(&format!("{name} is {value:?}")), "{error}");
        }
        assert!(error.starts_with("WEBHOOK_SECRET is not set"), "{error}");
    }

    #[test]
    fn numbers_are_taken_within_their_bounds() {
        for (value, right) in [("1", true), ("1024", true), ("1025", false), ("0", false), ("+5", false), ("5 ", false)]
        {
            assert_eq!(read(&[("WEBHOOK_SECRET", "s"), ("WORKERS", value)]).is_ok(), right, "{value:?}");
        }
        assert_eq!(read(&[("WEBHOOK_SECRET", "s"), ("WORKERS", "")]).unwrap().workers, 4);
    }
}
