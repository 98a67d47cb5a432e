//! Signals: what is in flight is answered, the file alone is whole afterwards, and the exit status is 0.

use crate::harness::{Connection, Database, Server, delivery, until};

#[test]
fn sigterm_and_sigint_end_the_service_in_order_with_exit_status_0() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start();
        server.deliver_all(&["m1", "m2"].map(delivery), 1);
        let idle = Connection::open(server.address()).expect("the server accepts");
        server.signal(signal);
        let status = server.wait_exit();
        assert_eq!(status.code(), Some(0), "SIG{signal}\nlog:\n{}\nstderr:\n{}", server.log(), server.errors());
        assert_eq!(server.errors(), "", "SIG{signal}");
        drop(idle);
        for message in ["\"stopping\"", "\"stopped\""] {
            until("the log says so", || server.log().contains(message));
        }

        let wal = server.database().with_extension("db-wal");
        assert!(wal.metadata().map_or(0, |wal| wal.len()) == 0, "SIG{signal}: the write-ahead log was left behind");
        let alone = server.directory().join("copy.db");
        std::fs::copy(server.database(), &alone).unwrap();
        let copy = Database::open(&alone);
        let rows = copy.count();
        assert_eq!(rows, 2, "SIG{signal}: the file alone is not whole");
    }
}

/// The delivery waits for a lock that another connection holds, so it is in flight for certain when the signal comes.
#[test]
fn a_delivery_in_flight_is_answered_before_the_service_ends() {
    let mut server = Server::start();
    let other = Database::open(server.database());
    other.lock();
    let reply = std::thread::scope(|scope| {
        let sender = scope.spawn(|| server.deliver(delivery("m1")));
        let waits = || server.metric("inbox_requests_in_flight") > 1.0;
        until("the delivery waits", || waits() || sender.is_finished());
        server.terminate();
        until("the service is stopping", || server.log().contains("\"stopping\""));
        other.release();
        sender.join().expect("the sender has an answer")
    });
    assert_eq!(server.wait_exit().code(), Some(0), "log:\n{}", server.log());
    server.start_again();
    // On a machine so slow that the lock was held for longer than the service waits, the answer is 503.
    let stored = if reply.status == 200 { vec!["m1"] } else { vec![] };
    assert_eq!(server.message_ids(), stored, "reply: {reply:?}");
    assert!(matches!(reply.status, 200 | 503), "reply: {reply:?}");
}

/// The delivery waits for a lock that another connection holds, longer than the test takes.
#[test]
fn a_second_signal_ends_the_service_at_once() {
    let mut server = Server::start();
    let other = Database::open(server.database());
    other.lock();
    let body = delivery("m1");
    let (signature, length) = (crate::harness::sign(crate::harness::SECRET, &body), body.len());
    let head = format!("POST /webhook HTTP/1.1\r\nHost: a\r\nX-Signature: {signature}\r\nContent-Length: {length}");
    let mut connection = Connection::open(server.address()).expect("the server accepts");
    let send = format!("{head}\r\n\r\n{body}");
    until("the delivery waits", || {
        // On a slow machine it may have been answered 503 by now; then another one waits.
        connection.send(send.as_bytes()).expect("the server takes a small request");
        server.metric("inbox_requests_in_flight") > 1.0
    });
    server.terminate();
    until("the service is stopping", || server.log().contains("\"stopping\""));
    server.terminate();
    assert_eq!(server.wait_exit().code(), Some(1), "log:\n{}", server.log());
    assert!(!server.log().contains("\"stopped\""), "log:\n{}", server.log());
    other.release();
    server.start_again();
    assert_eq!(server.message_ids(), Vec::<String>::new(), "none of them was acknowledged");
}

#[test]
fn after_the_end_nothing_listens_any_more() {
    let mut server = Server::start();
    let address = server.address();
    server.terminate();
    server.wait_exit();
    assert!(Connection::open(address).is_err());
}
