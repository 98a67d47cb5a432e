//! /health/live, /health/ready and the subcommand that asks for the latter.

use crate::harness::{Server, delivery, program, run, until};
use std::net::TcpListener;

#[test]
fn a_service_that_works_is_live_and_ready() {
    let server = Server::start();
    assert_eq!(server.get("/health/live").text(), r#"{"status":"ok"}"#);
    assert_eq!(server.get("/health/ready").text(), r#"{"status":"ready"}"#);
    assert_eq!(server.get("/health/ready").field("Content-Type"), Some("application/json"));
}

#[test]
fn the_health_subcommand_tells_by_its_exit_status_whether_the_service_is_ready() {
    let server = Server::start();
    let ask = |address: &str| run(program().arg("health").env("LISTEN_ADDR", address));
    let ended = ask(&server.address().to_string());
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(ended.stdout.trim(), r#"{"status":"ready"}"#);
    let everywhere = format!("0.0.0.0:{}", server.address().port());
    assert_eq!(ask(&everywhere).status.code(), Some(0), "an unspecified address stands for this machine");

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let ended = ask(&nobody);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains(&nobody), "{ended:?}");
    let ended = ask("nonsense");
    assert_eq!(ended.status.code(), Some(78), "{ended:?}");
}

#[test]
fn readiness_ends_with_a_failed_write_and_returns_with_the_first_that_succeeds() {
    let server = Server::start();
    let lock = rusqlite::Connection::open(server.database()).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(server.deliver(delivery("m1")).status, 503);
    let reply = server.get("/health/ready");
    assert_eq!(reply.status, 503, "reply: {reply:?}");
    let body = reply.json();
    assert_eq!(body["status"], "not_ready");
    assert!(body["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{body}");
    assert_eq!(body.as_object().map(|body| body.len()), Some(2), "{body}");
    assert_eq!(server.get("/health/live").status, 200);
    let ended = run(program().arg("health").env("LISTEN_ADDR", server.address().to_string()));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");

    lock.execute_batch("ROLLBACK").unwrap();
    until("the service is ready again, without a delivery that shows it", || server.get("/health/ready").status == 200);
}
