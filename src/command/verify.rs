//! `verify`: whether a signature matches a body, and if not, what has probably gone wrong.
//!
//! The service answers 401 and no more. The operator has the secret and may know everything.

use crate::command::{Failure, print, read_all};
use crate::config::Config;
use crate::delivery::Source;
use crate::webhook::diagnosis::{self, Lookalikes};
use crate::webhook::{MatchedSecret, Secrets};
use std::path::Path;

/// `signature` is the value or the header line of the native source or of Meta, or the header lines of Standard Webhooks.
pub(super) fn verify(source: Source, signature: &str, file: Option<&Path>) -> Result<(), Failure> {
    let (current, text) = Config::secret(source)?;
    let (name, previous) = Config::previous_secret(source)?.unzip();
    let body = read_all(file)?;
    let fields = diagnosis::fields(source, signature);
    let (secrets, lookalikes) = (Secrets { current, previous }, Lookalikes::of(source, &text));
    match (diagnosis::verify(source, &secrets, &lookalikes, &fields, &body), name) {
        // The service accepts this secret too.
        (Ok((_, MatchedSecret::Previous)), Some(name)) => print(&format!("the signature matches, by {name}\n")),
        (Ok(_), _) => print("the signature matches\n"),
        (Err(reason), _) => Err(Failure::failed(format!("the signature does not match: {reason}"))),
    }
}
