//! The grammar of the command line and its help.

use crate::command::Command;
use lexopt::{Arg, Parser};
use std::ffi::OsString;

/// The help text.
const HELP: &str = "\
webhook-inbox: keeps every acknowledged message of signed webhooks in SQLite

Usage: webhook-inbox [serve]    run the service (settings come from the environment)
       webhook-inbox health     ask a running service whether it is ready; exit status 0 or 1
       webhook-inbox --help | --version

Settings, from the environment:
  WEBHOOK_SECRET   HMAC secret that the sender signs with                 (required)
  WEBHOOK_SECRET_PREVIOUS   the one before it, which is taken too         (none)
  READ_TOKEN       what readers show: Authorization: Bearer …             (none: anybody reads)
  DATABASE_URL     sqlite:////absolute/path.db or sqlite:///./path.db     (sqlite:////data/app.db)
  LISTEN_ADDR      address and port                                       (0.0.0.0:8000)
  LOG_LEVEL        DEBUG, INFO, WARNING or ERROR                          (INFO)
  WORKERS          threads that answer requests                           (64)
  TRUSTED_PROXIES  addresses and nets whose X-Forwarded-For is believed   (none)

With _FILE after its name, each of the first three names a file that holds the value.

Bounds of what clients may use:
  MAX_CONNECTIONS     connections open at once                            (512)
  MAX_BODY_BYTES      largest request body, bytes                         (4194304)
  MAX_HEAD_BYTES      largest request line and header fields, bytes       (16384)
  MAX_HEADER_FIELDS   header fields of a request                          (64)
  MAX_HELD_BYTES      request bodies in memory at once, bytes             (67108864)
  HEAD_TIMEOUT_MS     for a request's head, from its first byte           (5000)
  BODY_TIMEOUT_MS     for a request's body, from the end of its head      (10000)
  IDLE_TIMEOUT_MS     for a connection without a request                  (30000)
  WRITE_TIMEOUT_MS    for a client to read its answer                     (10000)

Exit status: 0 stopped in order, 1 failed while running, 2 wrong usage, 74 database cannot be opened, 78 configuration.
";

/// Parses the arguments after the program's name.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Command {
    try_parse(arguments).unwrap_or_else(|error| Command::Misuse(error.to_string()))
}

fn try_parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, lexopt::Error> {
    let mut parser = Parser::from_args(arguments);
    let mut command = None;
    while let Some(argument) = parser.next()? {
        command = Some(match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help(HELP)),
            Arg::Short('V') | Arg::Long("version") => return Ok(Command::Version),
            Arg::Value(word) if command.is_none() => match word.to_str() {
                Some("serve") => Command::Serve,
                Some("health") => Command::Health,
                Some("help") => Command::Help(HELP),
                _ => return Err(format!("there is no command {word:?}").into()),
            },
            other => return Err(other.unexpected()),
        });
    }
    Ok(command.unwrap_or(Command::Serve))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_a_command_or_a_clear_refusal() {
        let parse = |line: &str| super::parse(line.split_whitespace().map(OsString::from));
        for (line, command) in [
            ("", Command::Serve),
            ("serve", Command::Serve),
            ("health", Command::Health),
            ("--help", Command::Help(HELP)),
            ("-h", Command::Help(HELP)),
            ("help", Command::Help(HELP)),
            ("serve --help", Command::Help(HELP)),
            ("--version", Command::Version),
            ("-V", Command::Version),
        ] {
            assert_eq!(parse(line), command, "{line}");
        }
        for line in ["dance", "serve serve", "--loud", "serve -x", "health now"] {
            assert!(matches!(parse(line), Command::Misuse(_)), "{line}");
        }
    }
}
