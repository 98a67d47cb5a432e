//! `sign`: the signature of a body, for curl.

use crate::command::{Failure, print, read_all};
use crate::config::Config;
use crate::delivery::Source;
use crate::reply::request_id;
use crate::webhook::{Secret, native, standard};
use std::path::Path;

/// How a body is signed, and what is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signing {
    /// For the native source.
    Native {
        /// The header line, not only the value.
        header: bool,
    },
    /// With Standard Webhooks, as header lines.
    Standard {
        /// None: a new one.
        id: Option<String>,
        /// Seconds since 1970; None: now.
        timestamp_s: Option<u64>,
    },
}

pub(super) fn sign(signing: Signing, file: Option<&Path>) -> Result<(), Failure> {
    let fields = match signing {
        Signing::Native { header: false } => {
            return print(&format!("{}\n", native::sign(&secret(Source::Native)?, &read_all(file)?)));
        }
        Signing::Native { header: true } => fields(Source::Native, &secret(Source::Native)?, &read_all(file)?),
        Signing::Standard { id, timestamp_s } => {
            let (id, timestamp_s) = (id.unwrap_or_else(new_id), timestamp_s.unwrap_or_else(standard::clock_s));
            standard::sign(&secret(Source::Standard)?, &id, timestamp_s, &read_all(file)?).to_vec()
        }
    };
    print(&fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect::<String>())
}

/// The header fields of a delivery from that source, signed now, as name and value.
pub(super) fn fields(source: Source, secret: &Secret, body: &[u8]) -> Vec<(&'static str, String)> {
    match source {
        Source::Native => vec![(native::FIELD, native::sign(secret, body))],
        Source::Standard => standard::sign(secret, &new_id(), standard::clock_s(), body).to_vec(),
    }
}

/// The secret of the settings.
pub(super) fn secret(source: Source) -> Result<Secret, Failure> {
    Ok(Config::secret(source)?.0)
}

fn new_id() -> String {
    format!("msg_{}", request_id())
}
