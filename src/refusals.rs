//! The last requests that were refused, for an operator who looks for what a sender does wrong.
//!
//! A ring in memory, bounded in entries and bytes, and lost at a restart. Not a table: a request without a signature costs
//! nothing to send, and each would cost a commit. Of the header fields only those of signatures are kept. What is wrong
//! with a request is found out when an operator asks, by [`webhook::diagnosis`](crate::webhook::diagnosis).

use crate::delivery::Source;
use crate::mutex::UNPOISONED;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// Most entries that a setting may ask for.
pub const ENTRIES_MAX: usize = 200;

/// Most bytes of all entries together.
const BYTES_MAX: usize = 1 << 20;

/// Most bytes of a body that are kept. WhatsApp's deliveries with one message have about 600.
const BODY_BYTES_MAX: usize = 8 << 10;

/// Most bytes of the fields of a signature that are kept: eight of Standard Webhooks have less than 500.
const SIGNATURE_BYTES_MAX: usize = 4 << 10;

/// Most bytes of a path and of a reason.
const TEXT_BYTES_MAX: usize = 1 << 10;

/// Most bytes of a method.
const METHOD_BYTES_MAX: usize = 32;

/// What an entry takes beside its texts.
const ENTRY_BYTES: usize = size_of::<Refusal>() + 64;

/// A request that was refused.
#[derive(Debug)]
pub struct Refusal {
    /// The same as in `X-Request-ID` of its answer.
    pub request_id: String,
    /// When it was answered.
    pub at: Timestamp,
    /// The client's address.
    pub client: Option<String>,
    /// As sent; None when the request line could not be read.
    pub method: Option<String>,
    /// The target up to `?`; None when the request line could not be read.
    pub path: Option<String>,
    /// The status that it was answered with.
    pub status: u16,
    /// Why, in a few words.
    pub reason: String,
    /// Of a delivery, the kind of its sender.
    pub source: Option<Source>,
    /// What it has sent.
    pub sent: Sent,
}

/// What a refused request has sent, within bounds.
#[derive(Debug, Default)]
pub struct Sent {
    /// The header fields of signatures, a line `name: value` each.
    pub signature: String,
    /// The beginning of the body.
    pub body: Vec<u8>,
    /// Bytes of the body that have come.
    pub body_bytes: usize,
    /// Why the gate refused it, before it was read to its end or before anything else could look at it. None: it did not.
    pub gate: Option<&'static str>,
    /// Signature or body are longer than what is kept of them.
    is_cut: bool,
}

impl Sent {
    /// Copies what may be kept of a request. `signature` is the header lines of signatures.
    pub fn new(mut signature: String, body: &[u8]) -> Sent {
        let kept = &body[..body.len().min(BODY_BYTES_MAX)];
        let is_cut = kept.len() < body.len() || signature.len() > SIGNATURE_BYTES_MAX;
        signature.truncate(signature.floor_char_boundary(SIGNATURE_BYTES_MAX));
        Sent { signature, body: kept.to_vec(), body_bytes: body.len(), gate: None, is_cut }
    }

    /// Of a delivery that could not be stored: only its length.
    pub fn valid(body_bytes: usize) -> Sent {
        Sent { body_bytes, is_cut: true, ..Sent::default() }
    }

    /// Of a request that the gate refused for that reason.
    pub fn at_gate(self, why: &'static str) -> Sent {
        Sent { gate: Some(why), ..self }
    }

    /// Signature and body are here as they were sent, from beginning to end.
    pub fn is_whole(&self) -> bool {
        self.gate.is_none() && !self.is_cut
    }
}

/// The newest is at the end.
struct Ring {
    entries_max: usize,
    bytes: usize,
    entries: VecDeque<Arc<Refusal>>,
}

/// Held for as long as it takes to append an entry and to drop the oldest ones.
static RING: Mutex<Ring> = Mutex::new(Ring::new(0));

impl Ring {
    const fn new(entries_max: usize) -> Ring {
        Ring { entries_max, bytes: 0, entries: VecDeque::new() }
    }

    fn push(&mut self, refusal: Refusal) {
        if self.entries_max == 0 {
            return;
        }
        self.bytes += bytes(&refusal);
        self.entries.push_back(Arc::new(refusal));
        while self.entries.len() > self.entries_max || self.bytes > BYTES_MAX {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.bytes -= bytes(&oldest);
        }
    }
}

fn bytes(Refusal { request_id, client, method, path, reason, sent, .. }: &Refusal) -> usize {
    let texts = [client, method, path].into_iter().flatten().chain([request_id, reason, &sent.signature]);
    texts.map(String::len).sum::<usize>() + sent.body.len() + ENTRY_BYTES
}

/// From now on at most so many entries are kept; before the first call, none.
pub fn keep_at_most(entries: usize) {
    RING.lock().expect(UNPOISONED).entries_max = entries;
}

/// Keeps a refusal, cut to its bounds, and drops the oldest ones for it.
pub fn keep(mut refusal: Refusal) {
    let Refusal { method, path, reason, .. } = &mut refusal;
    let texts = [(method.as_mut(), METHOD_BYTES_MAX), (path.as_mut(), TEXT_BYTES_MAX), (Some(reason), TEXT_BYTES_MAX)];
    for (text, bytes_max) in texts {
        if let Some(text) = text.filter(|text| text.len() > bytes_max) {
            text.truncate(text.floor_char_boundary(bytes_max));
            text.shrink_to_fit();
            text.push('…');
        }
    }
    RING.lock().expect(UNPOISONED).push(refusal);
}

/// The newest first, at most so many, and how many there are.
pub fn newest(limit: usize) -> (Vec<Arc<Refusal>>, usize) {
    let ring = RING.lock().expect(UNPOISONED);
    (ring.entries.iter().rev().take(limit).cloned().collect(), ring.entries.len())
}

/// The one of the request with that id, while it is kept.
pub fn find(request_id: &str) -> Option<Arc<Refusal>> {
    let ring = RING.lock().expect(UNPOISONED);
    ring.entries.iter().find(|refusal| refusal.request_id == request_id).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(number: usize, body: &[u8]) -> Refusal {
        Refusal {
            request_id: number.to_string(),
            at: Timestamp::now(),
            client: None,
            method: Some("POST".to_owned()),
            path: None,
            status: 401,
            reason: String::new(),
            source: Some(Source::Native),
            sent: Sent::new(String::new(), body),
        }
    }

    #[test]
    fn the_ring_keeps_the_newest_within_its_bounds() {
        for (body_bytes, entries_max) in [(0, 1), (0, 200), (100, 7), (8192, 200), (100_000, 200)] {
            let mut ring = Ring::new(entries_max);
            let body = vec![b'x'; body_bytes];
            for number in 0..500 {
                ring.push(refusal(number, &body));
                assert_eq!(ring.bytes, ring.entries.iter().map(|refusal| bytes(refusal)).sum::<usize>());
                assert!(ring.bytes <= BYTES_MAX && ring.entries.len() <= entries_max);
                assert_eq!(ring.entries.back().unwrap().request_id, number.to_string());
            }
            let fit = BYTES_MAX / ring.bytes.div_ceil(ring.entries.len());
            assert!(ring.entries.len() + 1 >= fit.min(entries_max), "{body_bytes}: {}", ring.entries.len());
        }
        let mut none = Ring::new(0);
        none.push(refusal(0, b""));
        assert!(none.entries.is_empty() && none.bytes == 0);
    }

    #[test]
    fn what_is_longer_than_its_bound_is_cut_and_not_whole() {
        for (signature, body, is_whole) in [
            (SIGNATURE_BYTES_MAX, BODY_BYTES_MAX, true),
            (SIGNATURE_BYTES_MAX, BODY_BYTES_MAX + 1, false),
            (SIGNATURE_BYTES_MAX + 1, BODY_BYTES_MAX, false),
            (0, 0, true),
        ] {
            let sent = Sent::new("s".repeat(signature), &vec![b'x'; body]);
            assert!(!Sent::default().at_gate("").is_whole());
            assert_eq!((sent.is_whole(), sent.body_bytes), (is_whole, body));
            assert!(sent.signature.len() <= SIGNATURE_BYTES_MAX && sent.body.len() <= BODY_BYTES_MAX);
        }
        assert!(!Sent::new("é".repeat(SIGNATURE_BYTES_MAX), b"").is_whole());
    }
}
