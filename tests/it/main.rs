//! The contract, line by line, driven through the real binary over real sockets.
//!
//! Nothing here uses the program's own code, so a test can only say what a user could see. Each test starts a server of
//! its own ([`harness`]); a failure shows the reply and the log.

mod harness; // the binary in a fresh directory, and an HTTP client

mod config;
mod durability;
mod health;
mod logs;
mod messages; // GET /messages: which, in which order, page by page
mod routing; // which path and method lead where
mod shutdown;
mod stats;
mod webhook; // POST /webhook: who may store what
