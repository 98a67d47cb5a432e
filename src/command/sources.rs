//! `sources`: what each kind of sender has done since a running service was started.

use crate::command::client::Url;
use crate::command::service::Service;
use crate::command::terminal::{json_line, table};
use crate::command::{Failure, print};
use serde::Deserialize;
use std::collections::BTreeMap;

/// An answer of /sources.
#[derive(Deserialize)]
struct Sources {
    data: Vec<Source>,
}

#[derive(Deserialize)]
struct Source {
    source: String,
    configured: bool,
    last_accepted_at: Option<String>,
    last_refused_at: Option<String>,
    last_refused_reason: Option<String>,
    results: BTreeMap<String, u64>,
    last_handshake_at: Option<String>,
    last_handshake_result: Option<String>,
}

/// The results of deliveries that are answered 200.
const ACCEPTED: [&str; 3] = ["created", "duplicate", "ignored"];

pub(super) fn sources(json: bool, url: Option<Url>) -> Result<(), Failure> {
    let service = Service::at(url)?;
    let sources = service.read("/sources")?;
    if json {
        return print(&json_line(&sources));
    }
    let Sources { data } = service.parse(&sources)?;
    let head = ["source", "configured", "accepted", "refused", "last accepted", "last refused", "last handshake"];
    print(&table(head, data.into_iter().map(row).collect()))
}

fn row(source: Source) -> [String; 7] {
    let (accepted, refused): (Vec<_>, Vec<_>) =
        source.results.iter().partition(|(result, _)| ACCEPTED.contains(&result.as_str()));
    let sum = |results: Vec<(&String, &u64)>| results.into_iter().map(|(_, count)| count).sum::<u64>().to_string();
    let with =
        |at: Option<String>, what: Option<String>| [at, what].into_iter().flatten().collect::<Vec<_>>().join(" ");
    [
        source.source,
        if source.configured { "yes" } else { "no" }.to_owned(),
        sum(accepted),
        sum(refused),
        source.last_accepted_at.unwrap_or_default(),
        with(source.last_refused_at, source.last_refused_reason),
        with(source.last_handshake_at, source.last_handshake_result),
    ]
}
