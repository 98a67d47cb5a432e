//! GET /refusals and GET /refusals/{request_id}.

use super::{instant, invalid};
use crate::answer::Answer;
use crate::path;
use crate::query;
use crate::refusals::{self, Refusal, Sent};
use crate::reply::{Reply, Status};
use crate::webhook::{Sources, diagnosis};
use serde::Serialize;
use std::borrow::Cow;

/// A refusal as it is listed.
#[derive(Serialize)]
struct Listed<'a> {
    request_id: &'a str,
    at: String,
    client: Option<&'a str>,
    method: Option<&'a str>,
    path: Option<&'a str>,
    status: u16,
    reason: &'a str,
    body_bytes: usize,
}

impl Listed<'_> {
    fn of(refusal: &Refusal) -> Listed<'_> {
        Listed {
            request_id: &refusal.request_id,
            at: instant(refusal.at),
            client: refusal.client.as_deref(),
            method: refusal.method.as_deref(),
            path: refusal.path.as_deref(),
            status: refusal.status,
            reason: &refusal.reason,
            body_bytes: refusal.sent.body_bytes,
        }
    }
}

/// The newest ones.
pub(super) fn list(query: &str) -> Answer {
    #[derive(Serialize)]
    struct List<'a> {
        data: Vec<Listed<'a>>,
        kept: usize,
    }
    match query::refusals::parse(query) {
        Ok(limit) => {
            let (newest, kept) = refusals::newest(limit);
            Reply::json(&List { data: newest.iter().map(|refusal| Listed::of(refusal)).collect(), kept }).into()
        }
        Err(faults) => invalid(&faults),
    }
}

/// One, with what it sent, and what is wrong with it.
pub(super) fn one(path: &str, sources: &Sources) -> Answer {
    #[derive(Serialize)]
    struct One<'a> {
        #[serde(flatten)]
        listed: Listed<'a>,
        signature: &'a str,
        body: Cow<'a, str>,
        body_complete: bool,
        diagnosis: Vec<String>,
    }
    let Some(refusal) = path::refusal(path).and_then(refusals::find) else {
        let detail = "no refusal is kept of this request: it was not refused, or others have followed, or the service has \
                      started again";
        return Reply::detail(Status::NotFound, detail).into();
    };
    let Sent { signature, body, body_bytes, gate, .. } = &refusal.sent;
    Reply::json(&One {
        listed: Listed::of(&refusal),
        signature,
        body: String::from_utf8_lossy(body),
        body_complete: gate.is_none() && body.len() == *body_bytes,
        diagnosis: diagnose(&refusal, sources),
    })
    .into()
}

/// What is wrong, a sentence each.
fn diagnose(Refusal { status, reason, source, sent, .. }: &Refusal, sources: &Sources) -> Vec<String> {
    let Sent { signature, body, body_bytes, gate, .. } = sent;
    let one = |sentence: &str| vec![sentence.to_owned()];
    if gate.is_some() {
        return vec![format!("the request was refused before its signature was checked: {reason}.")];
    }
    match (status, source) {
        (401 | 422, Some(source)) if sent.is_whole() => {
            diagnosis::explain(*source, sources, &diagnosis::lines(signature), body)
        }
        (401 | 422, Some(_)) => vec![format!(
            "{} of {body_bytes} bytes of the body are kept, and the signature is over all of them. Check the whole body with: \
             webhook-inbox verify",
            body.len()
        )],
        (503, _) => one("nothing is wrong with the delivery, and the database could not store it."),
        (403, _) => one("compare META_VERIFY_TOKEN with the token in Meta's dashboard."),
        (404, _) => one("nothing is configured for this path: META_APP_SECRET is not set, or META_VERIFY_TOKEN."),
        _ => one("nothing more is known of this request."),
    }
}
