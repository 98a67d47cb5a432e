//! webhook-inbox keeps every acknowledged message.
//!
//! A request arrives at the [`gate`], which bounds its size and time and passes it on whole, deliveries in batches. A
//! worker of the [`server`] pulls it from tiny_http, and [`api`] picks the endpoint by method and [`path`]. For a delivery,
//! [`webhook`] checks the signature over the raw body and parses it into a [`delivery`] of [`message`]s, each with a
//! [`timestamp`]; for a page, [`access`] says who may read, and [`query`] turns the query string into a selection.
//! [`store`] reads the page, or puts the delivery into its [`Line`](store::Line), where one thread commits group after
//! group. Only then is the [`answer`] counted, logged and written: 200 means on disk. What was refused can be looked
//! at for a while in [`refusals`].
//!
//! The modules are declared in that order, except that `query` stands below `store`, which reads its selections, and
//! `answer` above `delivery`, whose sources it counts by. Each uses only those declared below it, and the files of a
//! folder do the same, so these lists are the architecture.

pub mod cli;

pub mod command;

pub mod systemd;

pub mod config;

pub mod gate;

pub mod server;

pub mod api;

pub mod page;

pub mod access;

pub mod webhook;

pub mod store;

pub mod query;

pub mod answer;

pub mod refusals;

pub mod activity;

pub mod delivery;

pub mod message;

pub mod timestamp;

pub mod metrics;

pub mod path;

pub mod reply;

pub mod log;

mod closed_set;

mod mutex;
