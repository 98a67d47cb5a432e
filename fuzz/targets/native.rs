//! A signed body in the native format: what is accepted is JSON, and has the fields as they stand there.

#![no_main]

use webhook_inbox::delivery::Source;
use webhook_inbox::webhook::{Secret, Secrets, Sources, diagnosis::Lookalikes, native, receive};

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let secret = Secret::new(b"secret").expect("it is not empty");
    let signature = native::sign(&secret, body);
    let native = Some(Secrets { current: secret, previous: None });
    let lookalikes = Source::ALL.map(|source| Lookalikes::of(source, b""));
    let sources = Sources { native, standard: None, meta: None, lookalikes };
    if let Ok(delivery) = receive(Source::Native, &sources, &[("X-Signature", &signature)], body) {
        let value: serde_json::Value = serde_json::from_slice(body).expect("what is accepted is JSON");
        let [message] = &delivery.messages[..] else { panic!("not one message") };
        assert_eq!(value["message_id"], message.id.as_str());
        assert_eq!(value["ts"], message.ts.as_str());
    }
});
