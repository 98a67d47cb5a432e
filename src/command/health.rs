//! `health`: asks a service whether it is ready; by default the one on this machine. For HEALTHCHECK in an image without curl.

use crate::command::client::{Url, exchange, reachable};
use crate::command::{Failure, print};
use crate::config::Config;

pub(super) fn health(url: Option<Url>) -> Result<(), Failure> {
    let (url, advice) = match url {
        Some(url) => (url, "Is the service running there?"),
        None => (Url::of(reachable(Config::listen_address()?)), "Is the service running, with the same LISTEN_ADDR?"),
    };
    let (authority, path) = (url.authority(), url.path_or("/health/ready"));
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    let answer = exchange(url.address(), request.as_bytes())
        .map_err(|error| Failure::failed(format!("nothing answers at {authority}: {error}. {advice}")))?;
    if answer.status == 200 {
        return print(&format!("{}\n", answer.text()));
    }
    Err(Failure::failed(format!("{authority} says {}: {}", answer.status_line, answer.text())))
}
