//! What the program can do, a file for each subcommand.

mod health;
mod serve;

use std::io::Write;
use std::process::ExitCode;

/// Exit status for a fault of the service itself while it ran.
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
    Health,
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
        Command::Health => health::health(),
        Command::Help(help) => print(help),
        Command::Version => {
            print(&format!("webhook-inbox {} (SQLite {})\n", env!("CARGO_PKG_VERSION"), crate::store::sqlite_version()))
        }
        Command::Misuse(text) => Err(Failure { status: USAGE, text: format!("{text}. See: webhook-inbox --help") }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { status, text }) => {
            for line in text.lines() {
                eprintln!("webhook-inbox: {line}");
            }
            ExitCode::from(status)
        }
    }
}

/// Unlike `print!`, this does not panic when stdout is closed.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| Failure { status: FAILED, text: format!("cannot write to stdout: {error}") })
}
