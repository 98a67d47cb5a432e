//! `sign`: the signature of a body, for curl.

use crate::command::{Failure, print, read_all};
use crate::config::Config;
use crate::delivery::Source;
use crate::reply::request_id;
use crate::webhook::{Secret, meta, native, standard};
use std::path::Path;

/// How a body is signed, and what is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signing {
    /// A signature over the body alone.
    Body {
        /// The native source, or Meta.
        source: Source,
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
        Signing::Body { source, header } => {
            let fields = fields(source, &secret(source)?, &read_all(file)?);
            if !header {
                return print(&fields.iter().map(|(_, value)| format!("{value}\n")).collect::<String>());
            }
            fields
        }
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
        Source::Meta => vec![(meta::FIELD, meta::sign(secret, body))],
    }
}

/// The secret of the settings.
pub(super) fn secret(source: Source) -> Result<Secret, Failure> {
    Ok(Config::secret(source)?.0)
}

fn new_id() -> String {
    format!("msg_{}", request_id())
}
