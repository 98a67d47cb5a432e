//! The contract, line by line, driven through the real binary over real sockets.
//!
//! Nothing here uses the program's own code, so a test can only say what a user could see. Each test starts a server of
//! its own (`harness`); a failure shows the reply and the log.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness; // the binary in a fresh directory, and an HTTP client

mod access; // who may read, and with which secrets one may write
mod arrivals; // GET /arrivals: in the order of arrival
mod commands; // sign, send and verify; the usage and help of all subcommands
mod commands_data; // export, import, backup, check, erase, also beside a running service
mod config; // the settings, the command line, the exit statuses
mod docs; // the pages for readers: links and citations
mod durability; // kill -9, full disk, locked database, a log that nobody reads
mod forward; // what arrives, posted to another URL, whatever is killed
mod gate; // bounds, malformed requests, good clients, attacks, drain
mod health; // live, ready, and the subcommand that asks
mod history; // GET /stats/history: how many messages there were when
mod logs; // one JSON object a line, whatever clients send
mod messages; // GET /messages: which, in which order, page by page
mod meta; // GET and POST /webhook/meta: WhatsApp as Meta sends it
mod metrics; // GET /metrics: the whole page, and the counts of a known history
mod page; // GET /inbox: the page, its assets and its policy
#[cfg(feature = "postgres")]
mod postgres; // several instances on one server of PostgreSQL, and its failures
mod refusals; // GET /refusals: what was refused, and what was wrong with it
mod retention; // RETENTION_DAYS: what is deleted because of its age
mod routing; // which path and method lead where, and what every reply has
mod search; // q: with an index of its texts, without one, and after changes
mod settings; // the file of settings that service and commands share
mod shutdown; // signals
mod sources; // GET /sources: what each kind of sender has done
mod standard; // POST /webhook with the signatures of Standard Webhooks
mod stats; // GET /stats, also when another program writes
mod systemd; // the unit files, what the service manager is told, its watchdog, its sockets
mod tail; // what has arrived and what arrives, on a terminal and in a pipe
mod takeover; // databases that this version did not write
mod tidy; // the sources: modules, SQL, query plans
mod waiting; // GET /arrivals?wait: who waits for messages, and what ends that
mod webhook; // POST /webhook: who may store what
