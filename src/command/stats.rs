//! `stats`: how many messages a running service has, of whom, and how many there were in each of the last hours.

use crate::command::client::Url;
use crate::command::service::Service;
use crate::command::terminal::{bars, json_line, marked, table};
use crate::command::{Failure, print};
use serde::Deserialize;

/// An answer of /stats.
#[derive(Deserialize)]
struct Stats {
    total_messages: u64,
    senders_count: u64,
    messages_per_sender: Vec<Sender>,
    first_message_ts: Option<String>,
    last_message_ts: Option<String>,
}

#[derive(Deserialize)]
struct Sender {
    from: String,
    count: u64,
}

/// An answer of /stats/history.
#[derive(Deserialize)]
struct History {
    data: Vec<Hour>,
}

#[derive(Deserialize)]
struct Hour {
    count: u64,
}

pub(super) fn stats(json: bool, url: Option<Url>) -> Result<(), Failure> {
    let service = Service::at(url)?;
    let stats = service.read("/stats")?;
    if json {
        return print(&json_line(&stats));
    }
    let stats: Stats = service.parse(&stats)?;
    let history: History = service.parse(&service.read("/stats/history?bucket=hour&count=24")?)?;
    print(&text(stats, &history))
}

fn text(stats: Stats, history: &History) -> String {
    let instant = |ts: &Option<String>| ts.as_deref().map_or_else(|| "none".to_owned(), marked);
    let mut text = format!(
        "messages  {}\nsenders   {}\nfirst     {}\nlast      {}\n",
        stats.total_messages,
        stats.senders_count,
        instant(&stats.first_message_ts),
        instant(&stats.last_message_ts)
    );
    let hours: Vec<u64> = history.data.iter().map(|hour| hour.count).collect();
    let max = hours.iter().max().unwrap_or(&0);
    text += &format!("\nlast 24 h {}  at most {max} in an hour\n", bars(&hours));
    if !stats.messages_per_sender.is_empty() {
        let rows = stats.messages_per_sender.into_iter().map(|Sender { from, count }| [from, count.to_string()]);
        text += &format!("\n{}", table(["sender", "messages"], rows.collect()));
    }
    text
}
