//! The program: arguments to command to exit status.

use std::process::ExitCode;
use webhook_inbox::{cli, command};

fn main() -> ExitCode {
    command::run(cli::parse(std::env::args_os().skip(1)))
}
