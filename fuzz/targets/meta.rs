//! A signed delivery of Meta: any is accepted, and each message's place in the body is where its item stands.

#![no_main]

use webhook_inbox::delivery::Source;
use webhook_inbox::webhook::meta::{self, Meta, Statuses};
use webhook_inbox::webhook::{Secret, Secrets, Sources, diagnosis::Lookalikes, receive};

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let secret = Secret::new(b"secret").expect("it is not empty");
    let signature = meta::sign(&secret, body);
    let secrets = Secrets { current: secret, previous: None };
    let meta = Some(Meta { secrets, verify_token: None, statuses: Statuses::Keep });
    let lookalikes = Source::ALL.map(|source| Lookalikes::of(source, b""));
    let sources = Sources { native: None, standard: None, meta, lookalikes };
    let delivery = receive(Source::Meta, &sources, &[(meta::FIELD, &signature)], body);
    for message in delivery.expect("the signature is right").messages {
        let place = message.details.expect("a provider's message has details").place;
        let item: serde_json::Value = serde_json::from_slice(&body[place]).expect("an item is JSON");
        assert_eq!(item["id"], message.id.as_str());
    }
});
