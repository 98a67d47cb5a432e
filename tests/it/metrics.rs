//! GET /metrics: the whole page, and the counts after a known history.

use crate::harness::{Server, delivery};

/// The page with what differs from run to run replaced: sizes, times, versions.
fn steady(page: &str) -> String {
    let varies = [
        "process_start_time_seconds ",
        "inbox_database_size_bytes ",
        "inbox_wal_size_bytes ",
        "inbox_read_hold_seconds_",
        "inbox_disk_free_bytes ",
    ];
    let line = |line: &str| match varies.iter().find(|name| line.starts_with(**name)) {
        Some(name) => format!("{name}N\n"),
        None if line.starts_with("inbox_build_info{") => "inbox_build_info{…} 1\n".to_owned(),
        None => format!("{line}\n"),
    };
    page.lines().map(line).collect()
}

#[test]
fn a_fresh_service_has_exactly_this_page() {
    let server = Server::start();
    let reply = server.get("/metrics");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.field("Content-Type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let (page, expected) = (steady(&reply.text()), include_str!("../data/metrics.txt"));
    for (number, (line, expected)) in page.lines().zip(expected.lines()).enumerate() {
        assert_eq!(line, expected, "line {} of\n{page}", number + 1);
    }
    assert_eq!(page, expected);
}

#[test]
fn the_build_and_the_start_are_told() {
    let server = Server::start();
    let page = server.get("/metrics").text();
    let build = page.lines().find(|line| line.starts_with("inbox_build_info{")).unwrap_or_default();
    assert!(build.contains(&format!("version=\"{}\"", env!("CARGO_PKG_VERSION"))) && build.ends_with("} 1"), "{build}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let started = server.metric("process_start_time_seconds");
    assert!(started > now - 600.0 && started <= now, "{started} at {now}");
    assert!(server.metric("inbox_database_size_bytes") > 0.0);
}

#[test]
fn every_metric_has_its_help_and_type_before_its_samples() {
    let server = Server::start();
    server.deliver(delivery("m1"));
    let page = server.get("/metrics").text();
    assert!(page.ends_with('\n'), "{page}");
    let mut current = String::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(!help.is_empty() && page.matches(&format!("# HELP {name} ")).count() == 1, "{line}");
            current = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert_eq!(name, current, "{line}");
            assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            let rest = sample.strip_prefix(&current).unwrap_or_else(|| panic!("{line} is not of {current}"));
            let suffix = rest.split('{').next().unwrap_or_default();
            assert!(matches!(suffix, "" | "_bucket" | "_sum" | "_count"), "{line}");
            assert!(value.parse::<f64>().is_ok_and(|value| value >= 0.0), "{line}");
        }
    }
}

#[test]
fn the_counts_are_those_of_what_has_happened() {
    let server = Server::with(&[("MAX_BODY_BYTES", "1000")]);
    for (body, signed) in [
        (delivery("m1"), true),
        (delivery("m2"), true),
        (delivery("m1"), true),
        ("{}".to_owned(), true),
        (delivery("m3"), false),
        (delivery("m3"), false),
        ("x".repeat(1001), false),
    ] {
        if signed {
            server.deliver(body)
        } else {
            server.post("/webhook", None, body)
        };
    }
    for target in ["/messages", "/messages?limit=0", "/stats", "/stats", "/nowhere", "/webhook", "/health/live/", "/a"]
    {
        server.get(target);
    }
    server.request("HEAD", "/stats?x", &[], b"");
    for (name, value) in [
        (r#"webhook_requests_total{result="created"}"#, 2.0),
        (r#"webhook_requests_total{result="duplicate"}"#, 1.0),
        (r#"webhook_requests_total{result="validation_error"}"#, 1.0),
        (r#"webhook_requests_total{result="invalid_signature"}"#, 2.0),
        (r#"webhook_requests_total{result="too_large"}"#, 1.0),
        (r#"webhook_requests_total{result="unavailable"}"#, 0.0),
        (r#"http_requests_total{path="/webhook",status="200"}"#, 3.0),
        (r#"http_requests_total{path="/webhook",status="401"}"#, 2.0),
        (r#"http_requests_total{path="/webhook",status="405"}"#, 1.0),
        (r#"http_requests_total{path="/webhook",status="413"}"#, 1.0),
        (r#"http_requests_total{path="/webhook",status="422"}"#, 1.0),
        (r#"http_requests_total{path="/messages",status="200"}"#, 1.0),
        (r#"http_requests_total{path="/messages",status="422"}"#, 1.0),
        (r#"http_requests_total{path="/stats",status="200"}"#, 3.0),
        (r#"http_requests_total{path="other",status="404"}"#, 3.0),
        ("inbox_commit_messages_sum", 3.0),
        ("inbox_commit_failures_total", 0.0),
        ("inbox_log_lines_dropped_total", 0.0),
    ] {
        assert_eq!(server.metric(name), value, "{name}\n{}", server.get("/metrics").text());
    }
    let page = server.get("/metrics").text();
    let count = page.lines().find_map(|line| line.strip_prefix("request_latency_ms_count ")).unwrap_or_default();
    assert_eq!(count.parse::<f64>().ok(), Some(16.0 + 18.0), "each of the above, and each look at a value");
}

#[test]
fn the_latency_histogram_has_the_buckets_of_the_contract_and_they_are_cumulative() {
    let server = Server::start();
    for _ in 0..20 {
        server.get("/stats");
    }
    let page = server.get("/metrics").text();
    let bucket = |line: &str| {
        let (bound, count) = line.strip_prefix("request_latency_ms_bucket{le=\"")?.split_once("\"} ")?;
        Some((bound.to_owned(), count.parse::<u64>().expect("a count is a whole number")))
    };
    let (bounds, counts): (Vec<String>, Vec<u64>) = page.lines().filter_map(bucket).unzip();
    assert_eq!(bounds, ["10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "+Inf"]);
    assert!(counts.is_sorted() && counts.last() == Some(&20), "{counts:?}");
    assert!(page.contains("\nrequest_latency_ms_count 20\n"), "{page}");
}

#[test]
fn no_client_can_make_the_page_grow() {
    let server = Server::start();
    server.get("/nowhere");
    server.request("DELETE", "/stats", &[], b"");
    let length = server.get("/metrics").text().lines().count();
    for index in 0..50 {
        server.get(&format!("/nowhere/{index}?{index}"));
        server.request(&format!("METHOD{index}"), "/stats", &[], b"");
    }
    let grown = server.get("/metrics").text().lines().count();
    assert!(grown <= length + 1, "{length} lines have become {grown}"); // one for /metrics itself
}
