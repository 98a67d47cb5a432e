//! The running service, as commands read from it.

use crate::command::Failure;
use crate::command::client::{Answer, Url, exchange_after, reachable};
use crate::config::Config;
use crate::store::Arrival;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// How long one request waits for messages: less than any proxy does.
pub(super) const WAIT: Duration = Duration::from_secs(25);

/// Where it is, and what it wants to see.
pub(super) struct Service {
    url: Url,
    token: Option<String>,
}

/// Why there is no answer with status 200.
pub(super) enum NoAnswer {
    /// Another attempt may bring one.
    ForNow(String),
    /// None will.
    Refused { status: u16, said: String },
}

/// An answer of /arrivals, as far as it matters here.
#[derive(Deserialize)]
pub(super) struct Page {
    pub(super) data: Vec<Arrival>,
    pub(super) next: String,
    pub(super) oldest: i64,
}

impl Service {
    /// The one at that URL; without one, that of this machine.
    pub(super) fn at(url: Option<Url>) -> Result<Service, Failure> {
        let token = Config::read_token()?;
        let url = match url {
            Some(url) => url,
            None => Url::of(reachable(Config::listen_address()?)),
        };
        Ok(Service { url, token })
    }

    /// A page of /arrivals with those parameters, and the answer that it came in.
    pub(super) fn arrivals<'a>(
        &self,
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(Page, Answer), NoAnswer> {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let answer = self.get(&format!("/arrivals?{query}"))?;
        match serde_json::from_slice(&answer.body) {
            Ok(page) => Ok((page, answer)),
            Err(error) => Err(NoAnswer::ForNow(format!("the answer of {} is not a page: {error}.", self.authority()))),
        }
    }

    /// The whole answer for a path, which may take as long as a request waits for messages.
    pub(super) fn get(&self, target: &str) -> Result<Answer, NoAnswer> {
        let (authority, base) = (self.authority(), self.url.path_or("").trim_end_matches('/'));
        let token = self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let request = format!("GET {base}{target} HTTP/1.1\r\nHost: {authority}\r\n{token}Connection: close\r\n\r\n");
        let answer = exchange_after(WAIT, self.url.address(), request.as_bytes());
        let answer = answer.map_err(|error| NoAnswer::ForNow(format!("nothing answers at {authority}: {error}.")))?;
        let said = || format!("{authority} says {}: {}", answer.status_line, answer.text());
        let length = answer.field("Content-Length").and_then(|length| length.parse().ok());
        match answer.status {
            200 if length.is_none_or(|length: usize| length == answer.body.len()) => Ok(answer),
            200 => Err(NoAnswer::ForNow(format!("the answer of {authority} was cut off."))),
            0 | 500.. => Err(NoAnswer::ForNow(said())),
            status => Err(NoAnswer::Refused { status, said: said() }),
        }
    }

    /// The body of the answer for a path, in one attempt.
    pub(super) fn read(&self, target: &str) -> Result<String, Failure> {
        match self.get(target) {
            Ok(answer) => Ok(answer.text().into_owned()),
            Err(NoAnswer::ForNow(why) | NoAnswer::Refused { said: why, .. }) => Err(Failure::failed(why)),
        }
    }

    /// What such a body says.
    pub(super) fn parse<T: DeserializeOwned>(&self, body: &str) -> Result<T, Failure> {
        let wrong = |error| format!("the answer of {} is not that of webhook-inbox: {error}.", self.authority());
        serde_json::from_str(body).map_err(|error| Failure::failed(wrong(error)))
    }

    fn authority(&self) -> &str {
        self.url.authority()
    }
}
