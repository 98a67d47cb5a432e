//! A head and the body behind it, as they come from a client.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| webhook_inbox::gate::fuzz::request(input));
