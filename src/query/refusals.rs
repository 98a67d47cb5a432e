//! The query string of /refusals.

use super::order::Given;
use super::{LIMIT_DEFAULT, integer};
use crate::refusals::ENTRIES_MAX;
use crate::reply::Fault;

pub(super) const LIMIT_MAX: u64 = ENTRIES_MAX as u64;

/// Reads the query: how many refusals at most. Unknown parameters are ignored.
pub fn parse(query: &str) -> Result<usize, Vec<Fault>> {
    let given = Given::decode(query, &["limit"]);
    let limit = integer(given.get("limit"), LIMIT_DEFAULT, 1, LIMIT_MAX);
    limit.map(|limit| limit as usize).map_err(|refusal| vec![Fault::parameter("limit", refusal)]) // at most 200
}
