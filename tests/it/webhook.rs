//! POST /webhook: who may store what, and what everybody else is told.

use crate::harness::{SECRET, Server, delivery, sign};

#[test]
fn a_message_is_stored_only_with_a_valid_signature() {
    let server = Server::start();
    let body = delivery("m1");
    let right = sign(SECRET, &body);
    for (case, signature, status) in [
        ("no header at all", None, 401),
        ("signed with another secret", Some(sign("other", &body)), 401),
        ("the signature of another body", Some(sign(SECRET, delivery("m2"))), 401),
        ("empty", Some(String::new()), 401),
        ("nothing behind the prefix", Some("sha256=".to_owned()), 401),
        ("not hexadecimal", Some("zz".repeat(32)), 401),
        ("one digit short", Some(right[..63].to_owned()), 401),
        ("one byte short", Some(right[..62].to_owned()), 401),
        ("one byte more", Some(format!("{right}00")), 401),
        ("the prefix twice", Some(format!("sha256=sha256={right}")), 401),
        ("another prefix", Some(format!("sha1={right}")), 401),
        ("white space within", Some(format!("sha256= {right}")), 401),
        ("two values in one", Some(format!("{right},{right}")), 401),
        ("lower case", Some(right.clone()), 200),
        ("upper case", Some(right.to_uppercase()), 200),
        ("mixed case", Some(right[..32].to_uppercase() + &right[32..]), 200),
        ("with the prefix", Some(format!("sha256={right}")), 200),
        ("upper case with the prefix", Some(format!("sha256={}", right.to_uppercase())), 200),
        ("white space around", Some(format!("  \t{right}\t ")), 200),
    ] {
        let reply = server.post("/webhook", signature.as_deref(), &body);
        assert_eq!(reply.status, status, "{case}\nreply: {reply:?}\nlog:\n{}", server.log());
        let text = if status == 200 { r#"{"status":"ok"}"# } else { r#"{"detail":"invalid signature"}"# };
        assert_eq!(reply.text(), text, "{case}");
        assert_eq!(server.message_ids(), if status == 200 { vec!["m1"] } else { vec![] }, "{case}");
    }
}
