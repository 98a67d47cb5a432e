//! What the target `request` in fuzz/ feeds: the parsers of head and body.

use super::Limits;
use super::body::Chunked;
use super::head::{Framing, Parser};
use super::refusal::Rejection;

/// Reads a request in one piece, and in pieces as long as its first byte says. Panics unless the outcome is the same.
pub fn request(input: &[u8]) {
    let Some((&piece, input)) = input.split_first() else { return };
    let limits = Limits { body_bytes_max: 1000, head_bytes_max: 400, fields_max: 8, ..Limits::DEFAULT };
    let piece = usize::from(piece) + 1;
    let head = |piece: usize| {
        let (mut parser, mut forward) = (Parser::default(), Vec::new());
        let mut ends = (piece..input.len()).step_by(piece).chain([input.len()]);
        let head = ends.find_map(|end| parser.advance(&input[..end], &limits, &mut forward).transpose());
        head.transpose().map(|head| head.map(|head| (head, forward)))
    };
    let outcome = head(input.len().max(1));
    assert_eq!(head(piece), outcome);
    let Ok(Some((head, forward))) = outcome else { return };
    assert!(input[..head.bytes].ends_with(b"\r\n\r\n"));
    assert!(memchr::memmem::find(&forward, b"\r\n\r\n").is_none(), "what is forwarded is one head");
    if head.framing != Framing::Chunked {
        return;
    }
    let input = &input[head.bytes..];
    let body = |piece: usize| {
        let (mut chunked, mut body, mut at) = (Chunked::new(limits.body_bytes_max), Vec::new(), 0);
        for end in (piece..input.len()).step_by(piece).chain([input.len()]) {
            let (done, is_whole) = chunked.advance(&input[at..end.max(at)], &mut body)?;
            at += done;
            if is_whole {
                return Ok(Some((at, body)));
            }
        }
        Ok::<_, Rejection>(None)
    };
    assert_eq!(body(piece), body(input.len().max(1)));
}
