//! `send`: one message from the command line, made, signed and posted as a sender would.

use crate::command::client::{Url, exchange, reachable};
use crate::command::sign;
use crate::command::{Failure, print, tell};
use crate::config::Config;
use crate::delivery::Source;
use crate::reply::request_id;
use crate::timestamp::Timestamp;
use serde::Serialize;
use serde_json::json;

/// A message to send, as it was put on the command line. Nothing of it is checked: the service says what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// As which kind of sender.
    pub source: Source,
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
    pub url: Option<Url>,
}

impl Default for Draft {
    /// The numbers of the README.
    fn default() -> Draft {
        Draft {
            source: Source::Native,
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
struct Body<'a> {
    message_id: &'a str,
    from: &'a str,
    to: &'a str,
    ts: &'a str,
    text: &'a str,
}

/// The body in the format of the source.
fn body(draft: &Draft, message_id: &str, ts: &str) -> String {
    let Draft { from, to, text, .. } = draft;
    let body = match draft.source {
        Source::Native | Source::Standard => serde_json::to_string(&Body { message_id, from, to, ts, text }),
        Source::Meta => {
            let timestamp = Timestamp::parse(ts).map_or_else(
                |_| ts.to_owned(), // the service decides what it is
                |ts| ts.moment().us.div_euclid(1_000_000).to_string(),
            );
            let [from, to] = [from, to].map(|number| number.strip_prefix('+').unwrap_or(number));
            let text = json!({ "body": text });
            let message =
                json!({ "from": from, "id": message_id, "timestamp": timestamp, "type": "text", "text": text });
            let metadata = json!({ "display_phone_number": to });
            let value = json!({ "messaging_product": "whatsapp", "metadata": metadata, "messages": [message] });
            let change = json!({ "field": "messages", "value": value });
            let envelope =
                json!({ "object": "whatsapp_business_account", "entry": [{ "id": "0", "changes": [change] }] });
            serde_json::to_string(&envelope)
        }
    };
    body.expect("text is written to memory")
}

pub(super) fn send(draft: Draft) -> Result<(), Failure> {
    let secret = sign::secret(draft.source)?;
    let id = draft.id.clone().unwrap_or_else(|| format!("send-{}", request_id()));
    let ts = draft.ts.clone().unwrap_or_else(|| Timestamp::now().as_str().to_owned());
    let body = body(&draft, &id, &ts);
    let url = match draft.url {
        Some(url) => url,
        None => Url::of(reachable(Config::listen_address()?)),
    };
    let (authority, path) = (url.authority(), url.path_or(draft.source.path().label()));
    tell(&format!("POST http://{authority}{path} {body}"));
    let signature = sign::fields(draft.source, &secret, body.as_bytes());
    let signature: String = signature.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    // HTTP/1.0: whatever answers will not use the chunked coding (RFC 9112, section 7.1.2).
    let request = format!(
        "POST {path} HTTP/1.0\r\nHost: {authority}\r\nContent-Type: application/json\r\n{signature}\
         Content-Length: {length}\r\n\r\n{body}"
    );
    let answer = exchange(url.address(), request.as_bytes()).map_err(|error| {
        Failure::failed(format!("nothing answers at {authority}: {error}. Is the service running there?"))
    })?;
    print(&format!("{} {}\n", answer.status, answer.text()))?;
    match answer.status {
        200 => Ok(()),
        0 => Err(Failure::failed(format!("the answer is not HTTP: {:?}", answer.status_line))),
        status => Err(Failure::failed(format!("the service did not accept the message: status {status}"))),
    }
}
