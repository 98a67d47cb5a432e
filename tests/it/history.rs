//! GET /stats/history: how many messages there were in each minute, hour or day, by their `ts`.

use crate::harness::{Delivery, Server, encoded};
use serde_json::{Value, json};

/// An instant so many seconds from the present one, as a sender writes it.
fn ts(seconds: i64) -> String {
    let now = jiff::Timestamp::now().as_second();
    jiff::Timestamp::from_second(now + seconds).unwrap().to_string()
}

fn deliver(server: &Server, id: &str, ts: &str) {
    let body = Delivery { ts: ts.to_owned(), ..Delivery::of(id) }.body();
    assert_eq!(server.deliver(body).status, 200);
}

#[track_caller]
fn history(server: &Server, query: &str) -> Vec<(String, u64)> {
    let reply = server.get(&format!("/stats/history?{query}"));
    assert_eq!(reply.status, 200, "{query}: {reply:?}");
    let json = reply.json();
    let bucket = |item: &Value| Some((item["ts"].as_str()?.to_owned(), item["count"].as_u64()?));
    json["data"].as_array().unwrap().iter().map(|item| bucket(item).unwrap()).collect()
}

#[test]
fn the_default_is_the_last_48_hours_of_utc_with_the_running_one_at_the_end() {
    let server = Server::start();
    let reply = server.get("/stats/history");
    assert_eq!((reply.status, reply.field("Cache-Control")), (200, Some("no-store")));
    assert_eq!(reply.json()["bucket"], "hour");
    let hours = history(&server, "");
    assert_eq!(hours.len(), 48);
    assert!(hours.iter().all(|(ts, count)| ts.ends_with(":00:00Z") && *count == 0), "{hours:?}");
    let (last, _) = &hours[47];
    assert!(*last <= ts(0) && *last > ts(-3700), "{last}");
    assert!(hours.windows(2).all(|pair| pair[0].0 < pair[1].0), "{hours:?}");
}

#[test]
fn a_bar_has_as_many_messages_as_the_list_that_begins_with_it_has_more_than_the_next() {
    let server = Server::start();
    for (index, ago) in [0, 1, 59, 60, 61, 600, 3599, 3600, 7200, 86_400, 90_000].into_iter().enumerate() {
        deliver(&server, &format!("m{index}"), &ts(-ago));
    }
    deliver(&server, "long ago", "2001-01-01T00:00:00Z");
    for query in ["bucket=minute&count=744", "bucket=hour&count=30", "bucket=day&count=3&offset=%2B05:45"] {
        let buckets = history(&server, query);
        let since = |ts: &str| server.get(&format!("/messages?since={ts}")).json()["total"].as_u64().unwrap();
        for pair in buckets.windows(2).filter(|pair| pair[0].1 > 0 || pair[1].1 > 0) {
            assert_eq!(pair[0].1, since(&pair[0].0) - since(&pair[1].0), "{query}: {pair:?}");
        }
        let all: u64 = buckets.iter().map(|(_, count)| count).sum();
        assert!(all > 0 && all == since(&buckets[0].0), "{query}: {buckets:?}");
    }
}

#[test]
fn an_offset_moves_the_edges_of_days_however_its_sign_is_sent() {
    let server = Server::start();
    for (offset, end) in [
        ("%2B05:30", "T18:30:00Z"),
        ("+05:30", "T18:30:00Z"),
        ("-08:00", "T08:00:00Z"),
        ("%2B14:00", "T10:00:00Z"),
        ("-00:00", "T00:00:00Z"),
    ] {
        let days = history(&server, &format!("bucket=day&count=2&offset={offset}"));
        assert!(days.len() == 2 && days.iter().all(|(ts, _)| ts.ends_with(end)), "{offset}: {days:?}");
    }
}

#[test]
fn all_wrong_parameters_are_reported_at_once() {
    let server = Server::start();
    let reply = server.get(&format!("/stats/history?bucket=week&count=745&offset={}", encoded("+14:01")));
    assert_eq!(reply.status, 422);
    let json = reply.json();
    let faults: Vec<_> = json["detail"].as_array().unwrap().iter().map(|fault| &fault["loc"]).collect();
    assert_eq!(faults, [&json!(["query", "bucket"]), &json!(["query", "count"]), &json!(["query", "offset"])]);
}
