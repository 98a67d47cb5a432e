//! What the program can do: a file for each subcommand, then what several of them use.

mod backup;
mod check;
mod erase;
mod export;
mod forward;
mod health;
mod import;
mod send;
mod serve;
mod sign;
mod sources;
mod stats;
mod tail;
mod verify;

mod service;

mod client;
mod progress;
mod terminal;

pub use client::Url;
pub use export::Exporting;
pub use forward::Forwarding;
pub use send::Draft;
pub use sign::Signing;
pub use tail::Following;

use crate::config::{Config, ConfigError};
use crate::delivery::Source;
use crate::message::Party;
use crate::store::{Location, Maintenance, OpenError};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit status for a fault of the service itself while it ran, and for a command that has not done what it should.
const FAILED: u8 = 1;
/// Exit status for wrong usage.
const USAGE: u8 = 2;
/// EX_IOERR of sysexits(3): the database cannot be opened or migrated.
const IO_ERROR: u8 = 74;
/// EX_CONFIG of sysexits(3).
const CONFIG: u8 = 78;

/// Why a command ended without having done what it should: the exit status, and a text for stderr.
pub struct Failure {
    status: u8,
    text: String,
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Run the service; the default.
    Serve,
    /// Ask a running service whether it is ready.
    Health {
        /// Which; None: the one on this machine.
        url: Option<Url>,
    },
    /// Print the messages that have arrived last, and those that arrive.
    Tail(Following),
    /// Post the messages that arrive to another URL.
    Forward(Forwarding),
    /// Print how many messages there are, of whom, and when.
    Stats {
        /// As the service says it.
        json: bool,
        /// Of which service; None: the one on this machine.
        url: Option<Url>,
    },
    /// Print what each kind of sender has done.
    Sources {
        /// As the service says it.
        json: bool,
        /// Of which service; None: the one on this machine.
        url: Option<Url>,
    },
    /// Print the signature of a body.
    Sign {
        /// How.
        signing: Signing,
        /// The body; without one, stdin.
        file: Option<PathBuf>,
    },
    /// Make, sign and post one message.
    Send(Draft),
    /// Say whether a signature matches a body, and why not.
    Verify {
        /// Of which kind of sender.
        source: Source,
        /// As it was received: a value, or header lines.
        signature: String,
        /// The body; without one, stdin.
        file: Option<PathBuf>,
    },
    /// Print the messages as JSON, one a line.
    Export(Exporting),
    /// Store the messages that were exported.
    Import {
        /// The lines; without one, stdin.
        file: Option<PathBuf>,
    },
    /// Copy the database.
    Backup {
        /// Where to.
        file: PathBuf,
        /// Whether a file that is there is replaced.
        replace: bool,
    },
    /// Check settings and database.
    Check,
    /// Remove the messages of one sender.
    Erase {
        /// Whose: a number, or the provider's identifier of a user.
        from: Party,
        /// Only say how many there are.
        dry_run: bool,
    },
    /// Print this help.
    Help(&'static str),
    /// Print the version.
    Version,
    /// Say what is wrong with the command line.
    Misuse(String),
}

/// Runs the command, and says how it ended.
pub fn run(command: Command) -> ExitCode {
    let done = match command {
        Command::Serve => serve::serve(),
        Command::Health { url } => health::health(url),
        Command::Tail(following) => tail::tail(following),
        Command::Forward(forwarding) => forward::forward(forwarding),
        Command::Stats { json, url } => stats::stats(json, url),
        Command::Sources { json, url } => sources::sources(json, url),
        Command::Sign { signing, file } => sign::sign(signing, file.as_deref()),
        Command::Send(draft) => send::send(draft),
        Command::Verify { source, signature, file } => verify::verify(source, &signature, file.as_deref()),
        Command::Export(exporting) => export::export(exporting),
        Command::Import { file } => import::import(file.as_deref()),
        Command::Backup { file, replace } => backup::backup(&file, replace),
        Command::Check => check::check(),
        Command::Erase { from, dry_run } => erase::erase(&from, dry_run),
        Command::Help(help) => print(help),
        Command::Version => {
            print(&format!("webhook-inbox {} (SQLite {})\n", env!("CARGO_PKG_VERSION"), crate::store::sqlite_version()))
        }
        Command::Misuse(text) => Err(Failure { status: USAGE, text }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { status, text }) => {
            for line in text.lines() {
                tell(&format!("webhook-inbox: {line}"));
            }
            ExitCode::from(status)
        }
    }
}

impl Failure {
    fn failed(text: impl Into<String>) -> Failure {
        Failure { status: FAILED, text: text.into() }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure { status: CONFIG, text: error.to_string() }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Failure {
        Failure { status: IO_ERROR, text: error.to_string() }
    }
}

/// Unlike `print!`, this does not panic when stdout is closed.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| Failure::failed(format!("cannot write to stdout: {error}")))
}

/// Writes a line to stderr. It may be closed; `eprintln!` would panic then.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A file, or stdin where none is given, whole.
fn read_all(file: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    match file {
        Some(file) => {
            bytes = std::fs::read(file)
                .map_err(|error| Failure::failed(format!("cannot read {}: {error}", file.display())))?;
        }
        None => {
            let read = std::io::stdin().read_to_end(&mut bytes);
            read.map_err(|error| Failure::failed(format!("cannot read stdin: {error}")))?;
        }
    }
    Ok(bytes)
}

/// The file of that name with a suffix more.
fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Brings the name of a file to the disk, which syncing the file does not.
fn sync_directory(file: &Path) -> std::io::Result<()> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

/// The database of the settings, which has to be there and to have this version's schema.
fn open_database() -> Result<Maintenance, Failure> {
    Ok(Maintenance::open(&database()?)?.with_current_schema()?)
}

/// Which database it is. The directory of an installed service is closed to other users than its own: that is not the
/// same as a file that is missing.
fn database() -> Result<Location, Failure> {
    let location = Config::database()?;
    match location.file().map(Path::metadata) {
        Some(Err(error)) if error.kind() == ErrorKind::PermissionDenied => {
            let text = format!("cannot open the database {location}: {error}. Run the command with sudo.");
            Err(Failure { status: IO_ERROR, text })
        }
        _ => Ok(location),
    }
}
