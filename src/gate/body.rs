//! The chunked coding (RFC 9112 section 7.1), read strictly: what two parsers could read in two ways is refused.

use super::refusal::Rejection;

/// Most bytes of the line that gives a chunk's size, its extensions included. Real ones have 3 to 6.
const SIZE_LINE_BYTES_MAX: usize = 256;

/// On the wire a body may take at most twice its bytes, and so many more: sizes, extensions and trailers mean nothing
/// here, and in chunks of one byte a body would otherwise cost six times its bytes.
const FRAMING_BYTES_SPARE: usize = 64 << 10;

/// How far a chunked body has been decoded.
pub(super) struct Chunked {
    next: Next,
    body_bytes_max: usize,
    /// Bytes on the wire that are not the body's.
    framing_bytes: usize,
}

/// What the next byte belongs to.
enum Next {
    Size,
    /// This many bytes of a chunk, and then CR LF.
    Data(usize),
    DataEnd,
    Trailer,
}

impl Chunked {
    pub(super) fn new(body_bytes_max: usize) -> Chunked {
        Chunked { next: Next::Size, body_bytes_max, framing_bytes: 0 }
    }

    /// Decodes what can be decoded of `input` to the end of `body`. Returns how many bytes of the input are done with,
    /// and whether the body is whole. What it leaves has to be there again in the next call, with more after it.
    pub(super) fn advance(&mut self, input: &[u8], body: &mut Vec<u8>) -> Result<(usize, bool), Rejection> {
        let mut done = 0;
        loop {
            let rest = &input[done..];
            match self.next {
                Next::Size => {
                    let Some(line) = line(rest)? else { return Ok((done, false)) };
                    let size = size(line)?;
                    done += self.frame(line, body)?;
                    self.next = match size {
                        0 => Next::Trailer,
                        _ if size <= (self.body_bytes_max - body.len()) as u64 => Next::Data(size as usize),
                        _ => return Err(Rejection::BodyBytesMax),
                    };
                }
                Next::Data(size) => {
                    let here = rest.len().min(size);
                    body.extend_from_slice(&rest[..here]);
                    done += here;
                    if here < size {
                        self.next = Next::Data(size - here);
                        return Ok((done, false));
                    }
                    self.next = Next::DataEnd;
                }
                Next::DataEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        done += self.frame(b"", body)?;
                        self.next = Next::Size;
                    }
                    [] | [b'\r'] => return Ok((done, false)),
                    _ => return Err(Rejection::BadChunk),
                },
                Next::Trailer => {
                    let Some(line) = line(rest)? else { return Ok((done, false)) };
                    done += self.frame(line, body)?;
                    if line.is_empty() {
                        return Ok((done, true));
                    }
                }
            }
        }
    }

    /// Counts a line that is not the body's, CR LF included, and returns its length.
    fn frame(&mut self, line: &[u8], body: &[u8]) -> Result<usize, Rejection> {
        self.framing_bytes += line.len() + 2;
        let control = |&byte: &u8| byte < b' ' && byte != b'\t' || byte == 0x7f;
        if self.framing_bytes <= body.len() + FRAMING_BYTES_SPARE && !line.iter().any(control) {
            return Ok(line.len() + 2);
        }
        Err(Rejection::BadChunk)
    }
}

/// 1 to 16 hexadecimal digits, then perhaps extensions after a semicolon.
fn size(line: &[u8]) -> Result<u64, Rejection> {
    let digits = &line[..memchr::memchr(b';', line).unwrap_or(line.len())];
    if !(1..=16).contains(&digits.len()) {
        return Err(Rejection::BadChunk);
    }
    digits.iter().try_fold(0, |size, &digit| {
        let value = char::from(digit).to_digit(16).ok_or(Rejection::BadChunk)?;
        Ok(size << 4 | u64::from(value))
    })
}

/// The first line without its CR LF, once it is whole.
fn line(input: &[u8]) -> Result<Option<&[u8]>, Rejection> {
    let window = &input[..input.len().min(SIZE_LINE_BYTES_MAX)];
    match memchr::memchr(b'\n', window) {
        Some(end) => window[..end].strip_suffix(b"\r").map(Some).ok_or(Rejection::BadChunk),
        None if window.len() < SIZE_LINE_BYTES_MAX => Ok(None),
        None => Err(Rejection::BadChunk),
    }
}
