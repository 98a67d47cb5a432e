//! `send`: one message from the command line, made, signed and posted as a sender would.

use crate::command::client::{exchange, reachable};
use crate::command::sign::secret;
use crate::command::{Failure, print, tell};
use crate::config::Config;
use crate::reply::request_id;
use serde::Serialize;

/// A message to send, as it was put on the command line. Nothing of it is checked: the service says what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Who wrote it.
    pub from: String,
    /// To whom.
    pub to: String,
    /// What.
    pub text: String,
    /// Its message_id; None: a new one.
    pub id: Option<String>,
    /// When; None: now.
    pub ts: Option<String>,
    /// Where to; None: the service of this machine.
    pub url: Option<String>,
}

impl Default for Draft {
    /// The numbers of the README.
    fn default() -> Draft {
        Draft {
            from: "+919876543210".to_owned(),
            to: "+14155550100".to_owned(),
            text: "Hello from webhook-inbox".to_owned(),
            id: None,
            ts: None,
            url: None,
        }
    }
}

/// The native format (src/webhook/native.rs), with whatever was given.
#[derive(Serialize)]
struct Body {
    message_id: String,
    from: String,
    to: String,
    ts: String,
    text: String,
}

pub(super) fn send(draft: Draft) -> Result<(), Failure> {
    let secret = secret()?;
    let url = match draft.url {
        Some(url) => url,
        None => format!("http://{}/webhook", reachable(Config::listen_address()?)),
    };
    let Target { host, port, authority, path } = Target::parse(&url).map_err(|what| {
        Failure::failed(format!("--url is {url:?}: {what}. Give one like http://127.0.0.1:8000/webhook."))
    })?;
    let body = Body {
        message_id: draft.id.unwrap_or_else(|| format!("send-{}", request_id())),
        from: draft.from,
        to: draft.to,
        ts: draft.ts.unwrap_or_else(|| format!("{:.3}", jiff::Timestamp::now())),
        text: draft.text,
    };
    let body = serde_json::to_string(&body).expect("text is written to memory");
    tell(&format!("POST http://{authority}{path} {body}"));
    let signature = secret.sign(body.as_bytes());
    let length = body.len();
    // HTTP/1.0: whatever answers will not use the chunked coding (RFC 9112, section 7.1.2).
    let request = format!(
        "POST {path} HTTP/1.0\r\nHost: {authority}\r\nContent-Type: application/json\r\nX-Signature: {signature}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    let answer = exchange((host, port), request.as_bytes()).map_err(|error| {
        Failure::failed(format!("nothing answers at {authority}: {error}. Is the service running, and is it there?"))
    })?;
    print(&format!("{} {}\n", answer.status, answer.body))?;
    match answer.status {
        200 => Ok(()),
        0 => Err(Failure::failed(format!("that is no HTTP: {:?}", answer.status_line))),
        status => Err(Failure::failed(format!("the message was not taken: status {status}"))),
    }
}

/// An `http` URL, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Target<'a> {
    host: &'a str,
    port: u16,
    authority: &'a str,
    path: &'a str,
}

impl<'a> Target<'a> {
    fn parse(url: &'a str) -> Result<Target<'a>, &'static str> {
        if url.starts_with("https://") {
            return Err("TLS is not spoken here; use curl with the header that `webhook-inbox sign --header` prints");
        }
        let rest = url.strip_prefix("http://").ok_or("it does not begin with http://")?;
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("it holds a byte that has to be percent-encoded");
        }
        let slash = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(slash);
        let path = if matches!(path, "" | "/") { "/webhook" } else { path };
        // An IPv6 address has colons of its own, in brackets.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| "its port is no number")?),
            _ => (authority, 80),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err("it names no host");
        }
        Ok(Target { host, port, authority, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        for (url, host, port, path) in [
            ("http://127.0.0.1:8000/webhook", "127.0.0.1", 8000, "/webhook"),
            ("http://localhost", "localhost", 80, "/webhook"),
            ("http://localhost:81/", "localhost", 81, "/webhook"),
            ("http://[::1]:8000/in?x=1", "::1", 8000, "/in?x=1"),
            ("http://[::1]", "::1", 80, "/webhook"),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!((target.host, target.port, target.path), (host, port, path), "{url}");
        }
        for url in
            ["", "localhost:8000", "https://x/", "http://", "http://:80/", "http://x:y/", "http://x/ä", "http://x/\r\n"]
        {
            assert!(Target::parse(url).is_err(), "{url:?}");
        }
    }
}
