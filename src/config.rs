//! The settings, read once, and taken apart into each part's own options.
//!
//! A setting comes from the environment, or else from the settings file, which the commands and the service share. Every
//! value is checked at the start and every fault reported, not just the first. No module below reads the environment. A
//! secret may also be in a file that a variable names, or among the credentials that systemd has loaded; no fault ever
//! quotes it.

mod settings_file;

use crate::access::{Access, AllowedHosts, ReadToken};
use crate::gate;
use crate::log::Level;
use crate::store;
use crate::webhook::{Secret, Secrets, Source, Sources};
use settings_file::Settings;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// All settings, checked.
pub struct Config {
    /// `WEBHOOK_SECRET`, `STANDARD_WEBHOOKS_SECRET`, and with `_PREVIOUS` the one before each.
    pub sources: Sources,
    /// `READ_TOKEN` or, without it, `ALLOWED_HOSTS`.
    pub access: Access,
    /// `DATABASE_URL`, and a part of the workers.
    pub store: store::Options,
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
        let mut environment = Environment::new(&process_environment);
        let found = environment.secret(source, setting(source));
        if let Some(None) = found {
            environment.not_set(source);
        }
        found.flatten().ok_or(ConfigError(environment.faults))
    }

    /// The name of the setting with the secret before it, and the secret, if there is one.
    pub fn previous_secret(source: Source) -> Result<Option<(String, Secret)>, ConfigError> {
        let mut environment = Environment::new(&process_environment);
        let name = format!("{}_PREVIOUS", setting(source));
        let found = environment.secret(source, &name).ok_or(ConfigError(environment.faults))?;
        Ok(found.map(|(secret, _)| (name, secret)))
    }

    /// `DATABASE_URL` alone, for a command that works on the file.
    pub fn database_path() -> Result<PathBuf, ConfigError> {
        let mut environment = Environment::new(&process_environment);
        environment.database_path().ok_or(ConfigError(environment.faults))
    }

    /// `LISTEN_ADDR` alone, for a command that asks a running service.
    pub fn listen_address() -> Result<SocketAddr, ConfigError> {
        let mut environment = Environment::new(&process_environment);
        environment.listen_address().ok_or(ConfigError(environment.faults))
    }

    fn read(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Config, ConfigError> {
        let mut environment = Environment::new(variable);
        let sources = environment.sources();
        let access = environment.access();
        let path = environment.database_path();
        let level = || "DEBUG, INFO, WARNING or ERROR".to_owned();
        let log_level = environment.value("LOG_LEVEL", "INFO", Level::named, level);
        let listen = environment.listen_address();
        // One takes in all deliveries; the others are for reads, which share one connection to the database.
        let workers = environment.number("WORKERS", 4, 1, 1024);
        let limits = environment.limits();
        let trusted_proxies = environment.value("TRUSTED_PROXIES", "", gate::TrustedProxies::parse, || {
            "IP addresses or nets, separated by commas, for example 127.0.0.1,10.0.0.0/8".to_owned()
        });
        match (sources, access, path, log_level, listen, workers, limits, trusted_proxies) {
            (
                Some(sources),
                Some(access),
                Some(path),
                Some(log_level),
                Some(listen),
                Some(workers),
                Some(limits),
                Some(trusted_proxies),
            ) if environment.faults.is_empty() => {
                // A search keeps a worker busy for as long as it takes. One is left for deliveries, and one for other reads.
                let searches_max = workers.saturating_sub(2).max(1);
                let store = store::Options { path, searches_max };
                let warnings = environment.warnings;
                Ok(Config { sources, access, store, log_level, listen, workers, limits, trusted_proxies, warnings })
            }
            _ => Err(ConfigError(environment.faults)),
        }
    }
}

/// The name of a source's secret; that of the one before it ends in `_PREVIOUS`.
fn setting(source: Source) -> &'static str {
    match source {
        Source::Native => "WEBHOOK_SECRET",
        Source::Standard => "STANDARD_WEBHOOKS_SECRET",
    }
}

fn process_environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The variables, and what was found wrong with them so far. An empty value counts as one that is not set.
struct Environment<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// What the settings file has, or why it cannot be used: a fault only once a setting is looked up in it.
    file: Result<Settings, String>,
    faults: Vec<String>,
    warnings: Vec<String>,
}

impl<'a> Environment<'a> {
    fn new(variable: &'a dyn Fn(&str) -> Option<OsString>) -> Environment<'a> {
        let named = variable("WEBHOOK_INBOX_SETTINGS").filter(|path| !path.is_empty());
        Environment { variable, file: settings_file::read(named), faults: Vec::new(), warnings: Vec::new() }
    }

    fn variable(&self, name: &str) -> Option<OsString> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// The value in the settings file; `Some(None)` when there is none, `None` and a fault when the file cannot be used.
    fn in_file(&mut self, name: &str) -> Option<Option<OsString>> {
        match &self.file {
            Ok(settings) => Some(settings.get(name).filter(|value| !value.is_empty()).map(OsString::from)),
            Err(fault) => {
                if !self.faults.contains(fault) {
                    self.faults.push(fault.clone());
                }
                None
            }
        }
    }

    fn sources(&mut self) -> Option<Sources> {
        let [native, standard] = [Source::Native, Source::Standard].map(|source| self.secrets(source));
        if let (Some(None), Some(None)) = (&native, &standard) {
            self.not_set(Source::Native);
        }
        Some(Sources { native: native?, standard: standard? })
    }

    /// The secrets of a source; `Some(None)` when it is not configured, `None` and a fault when they cannot be used.
    fn secrets(&mut self, source: Source) -> Option<Option<Secrets>> {
        let name = setting(source);
        let name_previous = format!("{name}_PREVIOUS");
        match (self.secret(source, name), self.secret(source, &name_previous)) {
            (Some(Some((current, _))), Some(previous)) => {
                Some(Some(Secrets { current, previous: previous.map(|(secret, _)| secret) }))
            }
            (Some(None), previous) => {
                if let Some(Some(_)) = previous {
                    self.warnings.push(format!("{name_previous} is not used, because {name} is not set. Set both."));
                }
                Some(None)
            }
            _ => None,
        }
    }

    /// A secret, and its text; `Some(None)` when there is none, `None` and a fault when it cannot be used.
    fn secret(&mut self, source: Source, name: &str) -> Option<Option<(Secret, Vec<u8>)>> {
        let Some(value) = self.confidential(name)? else { return Some(None) };
        match source {
            Source::Native if value.ends_with(b"\n") => self.warnings.push(format!(
                "{name} ends in a newline, which is part of the secret. If the sender's secret has none, every \
                 signature is wrong: remove it."
            )),
            Source::Native | Source::Standard => {}
        }
        let secret = source.secret(&value).map_err(|why| self.faults.push(format!("{name} cannot be used: {why}")));
        secret.ok().map(|secret| Some((secret, value)))
    }

    fn not_set(&mut self, source: Source) {
        let name = setting(source);
        self.faults.push(match source {
            Source::Native => format!(
                "{name} is not set, so no signature could be checked. Set it to the secret that the sender signs with, \
                 for example to the output of: openssl rand -hex 32; or {name}_FILE to a file with it. For a sender of \
                 Standard Webhooks set STANDARD_WEBHOOKS_SECRET."
            ),
            Source::Standard => format!(
                "{name} is not set, so no signature can be made or checked. Set it to the secret that the sender signs with, for \
                 example to the output of: echo whsec_$(openssl rand -base64 32)"
            ),
        });
    }

    fn access(&mut self) -> Option<Access> {
        let hosts = self.value("ALLOWED_HOSTS", "", AllowedHosts::parse, || {
            "host names without ports, separated by commas, for example inbox.example.com".to_owned()
        });
        let Some(token) = self.confidential("READ_TOKEN")? else { return hosts.map(Access::Hosts) };
        let token = ReadToken::new(&token);
        if token.is_none() {
            self.faults.push(
                "READ_TOKEN is nothing that can be sent in Authorization: Bearer. Set it to letters, digits and -._~+/ \
                 (and = at the end), for example to the output of: openssl rand -hex 32"
                    .to_owned(),
            );
        }
        hosts.and(token).map(Access::Token)
    }

    /// The value of a variable that nobody else should see; `Some(None)` when there is none, `None` and a fault when it
    /// cannot be used.
    ///
    /// It is the variable itself; or the credential `NAME` that systemd has loaded (`LoadCredential=`), which stands for
    /// the file that `NAME_FILE` names where the service may not read that; or what is in this file. The settings file is
    /// asked only when the environment has none of these: a variable there does not contradict the file's `NAME_FILE`.
    fn confidential(&mut self, name: &str) -> Option<Option<Vec<u8>>> {
        let name_file = format!("{name}_FILE");
        let (mut value, mut path) = (self.variable(name), self.variable(&name_file));
        let credential = self.variable("CREDENTIALS_DIRECTORY").map(|directory| Path::new(&directory).join(name));
        let credential = credential.filter(|path| value.is_none() && path.symlink_metadata().is_ok());
        if value.is_none() && path.is_none() && credential.is_none() {
            (value, path) = (self.in_file(name)?, self.in_file(&name_file)?);
        }
        let found = match (value, credential, path) {
            (Some(_), _, Some(_)) => Err(format!("{name} and {name_file} are both set. Set only one of them.")),
            (Some(value), ..) => Ok(Some(value.into_vec())),
            (None, Some(path), _) => {
                secret_in(&path).map(Some).map_err(|error| format!("the credential {name}: {error}"))
            }
            (None, None, Some(path)) => {
                secret_in(Path::new(&path)).map(Some).map_err(|error| format!("{name_file}: {error}"))
            }
            (None, None, None) => Ok(None),
        };
        found.map_err(|fault| self.faults.push(fault)).ok()
    }

    fn database_path(&mut self) -> Option<PathBuf> {
        let right = || "sqlite:////absolute/path.db or sqlite:///./relative/path.db".to_owned();
        self.value("DATABASE_URL", "sqlite:////data/app.db", database_path, right)
    }

    fn listen_address(&mut self) -> Option<SocketAddr> {
        let right = || "an address and a port, for example 127.0.0.1:8000 or [::1]:8000".to_owned();
        self.value("LISTEN_ADDR", "0.0.0.0:8000", |value| value.parse().ok(), right)
    }

    /// The defaults and their reasons are [`gate::Limits`]'s.
    fn limits(&mut self) -> Option<gate::Limits> {
        let default = gate::Limits::default();
        let mut time = |name: &str, default: Duration| {
            let ms = self.number(name, default.as_millis() as usize, 1, 3_600_000)?;
            Some(Duration::from_millis(ms as u64))
        };
        let head_time = time("HEAD_TIMEOUT_MS", default.head_time);
        let body_time = time("BODY_TIMEOUT_MS", default.body_time);
        let idle_time = time("IDLE_TIMEOUT_MS", default.idle_time);
        let write_time = time("WRITE_TIMEOUT_MS", default.write_time);
        let connections_max = self.number("MAX_CONNECTIONS", default.connections_max, 1, 65_536);
        let head_bytes_max = self.number("MAX_HEAD_BYTES", default.head_bytes_max, 256, 1 << 20);
        let fields_max = self.number("MAX_HEADER_FIELDS", default.fields_max, 8, 1024);
        let body_bytes_max = self.number("MAX_BODY_BYTES", default.body_bytes_max, 1, 1 << 30);
        // No less than one body, or the largest could never be taken.
        let held_min = body_bytes_max.unwrap_or(1);
        let held_default = default.held_bytes_max.max(held_min);
        let held_bytes_max = self.number("MAX_HELD_BYTES", held_default, held_min, 1 << 40);
        Some(gate::Limits {
            connections_max: connections_max?,
            head_bytes_max: head_bytes_max?,
            fields_max: fields_max?,
            body_bytes_max: body_bytes_max?,
            held_bytes_max: held_bytes_max?,
            head_time: head_time?,
            body_time: body_time?,
            idle_time: idle_time?,
            write_time: write_time?,
        })
    }

    fn number(&mut self, name: &str, default: usize, min: usize, max: usize) -> Option<usize> {
        let parse = |value: &str| {
            let digits = value.bytes().all(|byte| byte.is_ascii_digit()); // str::parse takes a sign
            value.parse().ok().filter(|number| digits && (min..=max).contains(number))
        };
        self.value(name, &default.to_string(), parse, || format!("a whole number from {min} to {max}"))
    }

    /// The value of a variable or its default; None, and a fault, when it cannot be used.
    fn value<T>(
        &mut self,
        name: &str,
        default: &str,
        parse: impl FnOnce(&str) -> Option<T>,
        right: impl FnOnce() -> String,
    ) -> Option<T> {
        let value = match self.variable(name) {
            None => self.in_file(name)?,
            set => set,
        };
        let value = value.map_or_else(|| default.to_owned(), |value| value.to_string_lossy().into_owned());
        let parsed = parse(&value);
        if parsed.is_none() {
            self.faults.push(format!("{name} is {value:?}, which cannot be used. Set it to {}.", right()));
        }
        parsed
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

/// What comes after `sqlite:///` is a path, as in SQLAlchemy, which the original service used.
fn database_path(url: &str) -> Option<PathBuf> {
    let path = url.strip_prefix("sqlite:///")?;
    // In memory nothing is kept, and options (`?mode=…`) would be silently ignored.
    let names_a_file = !path.is_empty() && !path.ends_with('/') && path != ":memory:" && !path.contains(['?', '\0']);
    names_a_file.then(|| PathBuf::from(path))
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
        assert_eq!(config.store.path, PathBuf::from("/data/app.db"));
        assert_eq!(config.log_level, Level::Info);
        assert_eq!(config.listen.to_string(), "0.0.0.0:8000");
        assert_eq!((config.workers, config.limits), (4, gate::Limits::default()));
        assert_eq!(config.trusted_proxies, gate::TrustedProxies::default());
    }

    #[test]
    fn every_fault_is_reported_with_the_variable_the_value_and_what_would_be_right() {
        let variables = [
            ("DATABASE_URL", "postgres://x"),
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
    fn a_database_url_names_a_file() {
        for (url, path) in [
            ("sqlite:////data/app.db", Some("/data/app.db")),
            ("sqlite:///./inbox.db", Some("./inbox.db")),
            ("sqlite:///inbox.db", Some("inbox.db")),
            ("sqlite:///", None),
            ("sqlite://", None),
            ("sqlite:///:memory:", None),
            ("sqlite:////data/", None),
            ("sqlite:////data/app.db?mode=ro", None),
            ("postgresql://localhost/app", None),
            ("/data/app.db", None),
        ] {
            assert_eq!(database_path(url), path.map(PathBuf::from), "{url}");
        }
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
