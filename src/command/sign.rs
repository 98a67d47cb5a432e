//! `sign`: the signature of a body, for curl.

use crate::command::{Failure, print, read_all};
use crate::config::Config;
use crate::webhook::{Secret, native};
use std::path::Path;

pub(super) fn sign(header: bool, file: Option<&Path>) -> Result<(), Failure> {
    let signature = native::sign(&secret()?, &read_all(file)?);
    print(&if header { format!("{}: {signature}\n", native::FIELD) } else { format!("{signature}\n") })
}

/// The secret of the environment.
pub(super) fn secret() -> Result<Secret, Failure> {
    Ok(Secret::new(&Config::secret_bytes()?).expect("the configuration refuses an empty secret"))
}
