//! `health`: asks the service on this machine whether it is ready. For HEALTHCHECK in an image without curl.

use crate::command::client::{exchange, reachable};
use crate::command::{Failure, print};
use crate::config::Config;

pub(super) fn health() -> Result<(), Failure> {
    let address = reachable(Config::listen_address()?);
    let request = format!("GET /health/ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answer = exchange(address, request.as_bytes()).map_err(|error| {
        let advice = "Is the service running, with the same LISTEN_ADDR?";
        Failure::failed(format!("nothing answers at {address}: {error}. {advice}"))
    })?;
    if answer.status == 200 {
        return print(&format!("{}\n", answer.body));
    }
    Err(Failure::failed(format!("{address} says {}: {}", answer.status_line, answer.body)))
}
