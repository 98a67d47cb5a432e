//! A request while it is read: its head, then its body, from bytes that come in any pieces.

use super::Limits;
use super::body::Chunked;
use super::head::{Framing, Head, Parser};
use super::proxies::TrustedProxies;
use super::refusal::Rejection;
use super::waiters::WaitResult;
use crate::answer::{Asked, Waited, clock_us};
use crate::refusals::Sent;
use crate::webhook;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A request of which something has come.
pub(super) struct Request {
    pub(super) arrived_us: u64,
    parser: Parser,
    /// Request line and fields as tiny_http gets them.
    pub(super) forward: Vec<u8>,
    pub(super) head: Option<Head>,
    chunked: Chunked,
    pub(super) body: Vec<u8>,
    /// How many commits there were before a worker was asked.
    pub(super) commits: u64,
    /// A worker has found nothing, and the client waits.
    pub(super) waiting: Option<Waiting>,
}

/// A request that waits for messages.
pub(super) struct Waiting {
    /// No two waits have the same.
    pub(super) number: u64,
    pub(super) end: Instant,
    /// Where a worker is to look on from.
    pub(super) cursor: i64,
    /// Since then it has waited, or until then it had.
    pub(super) parked: Instant,
    /// How long it had waited by then.
    pub(super) time: Duration,
    /// The wait has ended in this way: the worker is asked for the last time.
    pub(super) ended: Option<WaitResult>,
}

/// How far it has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The head is not whole.
    Head,
    /// The body is not whole.
    Body,
    Whole,
}

impl Request {
    pub(super) fn new(limits: &Limits) -> Request {
        Request {
            arrived_us: clock_us(),
            parser: Parser::default(),
            forward: Vec::new(),
            head: None,
            chunked: Chunked::new(limits.body_bytes_max),
            body: Vec::new(),
            commits: 0,
            waiting: None,
        }
    }

    /// Takes out of `input` what belongs to the request.
    pub(super) fn advance(&mut self, input: &mut Vec<u8>, limits: &Limits) -> Result<Progress, Rejection> {
        if self.head.is_none() {
            let Some(head) = self.parser.advance(input, limits, &mut self.forward)? else { return Ok(Progress::Head) };
            input.drain(..head.bytes);
            self.head = Some(head);
        }
        let whole = match self.head.as_ref().map(|head| &head.framing) {
            None | Some(Framing::Absent) => true,
            Some(&Framing::Length(length)) => {
                let here = input.len().min(length - self.body.len());
                self.body.extend(input.drain(..here));
                self.body.len() == length
            }
            Some(Framing::Chunked) => {
                let (done, whole) = self.chunked.advance(input, &mut self.body)?;
                input.drain(..done);
                whole
            }
        };
        Ok(if whole { Progress::Whole } else { Progress::Body })
    }

    /// Bytes that it holds in memory. One without a body is passed on as soon as its head is whole, and does not count.
    pub(super) fn held_bytes(&self) -> usize {
        match self.head.as_ref().map(|head| &head.framing) {
            None | Some(Framing::Absent) => 0,
            Some(Framing::Length(_) | Framing::Chunked) => self.forward.len() + self.body.len(),
        }
    }

    /// The address of its client, for the log.
    pub(super) fn client(&self, peer: SocketAddr, proxies: &TrustedProxies) -> String {
        let forwarded = proxies.client(peer, &self.parser.forwarded_for);
        forwarded.map_or_else(|| peer.to_string(), |client| client.to_string())
    }

    /// What is known of it, as soon as the request line has been read.
    pub(super) fn asked<'a>(&'a self, client: &'a str) -> Asked<'a> {
        let line = self.forward.split(|&byte| byte == b'\r').next().and_then(|line| std::str::from_utf8(line).ok());
        let mut words = line.into_iter().flat_map(|line| line.split(' ')).filter(|word| !word.is_empty());
        let method = words.next();
        let path = words.next().and_then(|target| target.split('?').next());
        Asked { method, path, client: Some(client), arrived_us: self.arrived_us, waited: self.waited() }
    }

    /// What has come of it, as far as it may be kept.
    pub(super) fn sent(&self) -> Sent {
        let head = std::str::from_utf8(&self.forward).unwrap_or_default();
        let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        Sent::new(webhook::signature_lines(fields), &self.body)
    }

    /// Its target.
    pub(super) fn target(&self) -> &str {
        let target = self.forward.split(|&byte| byte == b' ').nth(1);
        target.and_then(|target| std::str::from_utf8(target).ok()).unwrap_or_default()
    }

    /// What a worker learns when it is asked again.
    pub(super) fn waited(&self) -> Option<Waited> {
        let Waiting { cursor, time, ended, .. } = self.waiting.as_ref()?;
        Some(Waited { cursor: *cursor, time_us: time.as_micros() as u64, is_over: ended.is_some() }) // at most 30 s
    }
}
