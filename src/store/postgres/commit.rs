//! One group, one statement, one commit.
//!
//! 1. There is one writing connection, and no other is opened while the server may still be at work on a commit.
//! 2. A commit that waits for its standby is ended by nothing but the standby. So the group is answered 503 after
//!    [`COMMIT_TIME`], the connection is left alone, and later groups are answered 503 at once until the commit has
//!    returned, or for [`ABANDON_TIME`]. At most [`ABANDONED_MAX`] connections are left like that.
//! 3. After a connection that broke, a group is written once more: what of it was committed is a duplicate then.

use crate::delivery::{Delivery, StatusUpdate};
use crate::message::Message;
use crate::store::filter::moment_of;
use crate::store::postgres::connection::{Connection, Fault, Url};
use crate::store::postgres::erased;
use crate::store::postgres::schema;
use crate::store::postgres::value::{Key, escaped, folded, message_key, random_key, status_key};
use crate::store::{Exported, KeptDelivery, KeptMessage, KeptStatus, Record, Stored, metrics};
use crate::timestamp::Moment;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// For a group, from the first attempt on.
const COMMIT_TIME: Duration = Duration::from_secs(5);

/// A group that waits for a lock is ended by the server before it is late.
const SETTINGS: &str = "SET lock_timeout = '3s'; SET statement_timeout = '4s'";

/// After so long another connection is tried: another host may be the primary by now.
const ABANDON_TIME: Duration = Duration::from_secs(30);

/// Most connections that are left to the server.
const ABANDONED_MAX: usize = 3;

/// Between two attempts when another transaction is in the way.
const CONFLICT_PAUSE: Duration = Duration::from_millis(5);

/// The writing connection, as far as there is one.
pub(super) struct Writer {
    url: Url,
    connection: Option<Open>,
    /// Since when the server has been late.
    late: Option<Instant>,
    abandoned: Vec<Connection>,
}

struct Open {
    connection: Connection,
    erasure_key: Vec<u8>,
}

/// What is written: each message and each status once, in the order of their keys.
#[derive(Default)]
pub(super) struct Group<'a> {
    messages: Vec<Row<'a>>,
    statuses: Vec<Status<'a>>,
    deliveries: Vec<Raw<'a>>,
    /// The message_id and key of each message of a provider, also of one that is there twice, and its delivery.
    provided: Vec<(&'a str, Key, Key)>,
    known: HashSet<Key>,
}

struct Row<'a> {
    key: Key,
    message_id: &'a str,
    from: &'a str,
    to: &'a str,
    ts: &'a str,
    text: Option<&'a str>,
    /// None: now.
    created_at: Option<&'a str>,
    moment: Moment,
    details: Option<Provider<'a>>,
    place: i32,
}

/// What a message of a provider has beyond that.
struct Provider<'a> {
    source: &'a str,
    kind: &'a str,
    from_id: Option<&'a str>,
    profile_name: Option<&'a str>,
    channel: Option<&'a str>,
    reply_to: Option<&'a str>,
    /// None: no delivery is kept.
    delivery: Option<Key>,
    at: i64,
    bytes: i64,
}

struct Status<'a> {
    key: Key,
    message_id: &'a str,
    status: &'a str,
    recipient: &'a str,
    ts: &'a str,
    error_code: Option<i64>,
    /// None: now.
    received_at: Option<&'a str>,
    delivery: Key,
    place: i32,
}

struct Raw<'a> {
    key: Key,
    source: &'a str,
    /// None: now.
    received_at: Option<&'a str>,
    fields: &'a str,
    body: &'a [u8],
    ignored: bool,
    altered: bool,
}

/// Commits deliveries as one group. Returns of each what became of its messages, and then of its statuses.
pub(super) fn commit(writer: &mut Writer, deliveries: &[Delivery]) -> Result<Vec<Vec<Stored>>, Fault> {
    let begun = Instant::now();
    let mut group = Group::default();
    // Of each message and status its key; None: it is in the group already.
    let keys: Vec<Vec<Option<Key>>> = deliveries.iter().map(|delivery| group.add_delivery(delivery)).collect();
    let created = writer.write(&mut group)?;
    let outcomes: Vec<Vec<Stored>> = keys.iter().map(|keys| outcomes(keys, &created)).collect();
    for (delivery, outcomes) in deliveries.iter().zip(&outcomes) {
        // A delivery's outcomes begin with those of its messages.
        for (message, _) in delivery.messages.iter().zip(outcomes).filter(|(_, outcome)| **outcome == Stored::Created) {
            metrics::MESSAGES.count(delivery.source, message.kind());
        }
    }
    let count: usize = deliveries.iter().map(Delivery::updates).sum();
    metrics::COMMIT_MESSAGES.observe(count as f64);
    let requests = deliveries.iter().filter(|delivery| !delivery.is_empty()).count();
    metrics::COMMIT_REQUESTS.observe(requests as f64);
    metrics::COMMIT_SECONDS.observe(begun.elapsed().as_secs_f64());
    Ok(outcomes)
}

/// Stores lines of an export as one group, and says of each whether anything in it is new. A delivery with nothing to
/// store is.
pub(super) fn import(writer: &mut Writer, lines: &[&Exported]) -> Result<Vec<Stored>, Fault> {
    let mut group = Group::default();
    let keys: Vec<Vec<Option<Key>>> = lines.iter().map(|line| group.add_line(line)).collect();
    let created = writer.write(&mut group)?;
    let stored = |keys: &Vec<Option<Key>>| match keys.is_empty() || outcomes(keys, &created).contains(&Stored::Created)
    {
        true => Stored::Created,
        false => Stored::Duplicate,
    };
    Ok(keys.iter().map(stored).collect())
}

fn outcomes(keys: &[Option<Key>], created: &HashSet<Key>) -> Vec<Stored> {
    let stored = |key: &Option<Key>| match key {
        Some(key) if created.contains(key) => Stored::Created,
        _ => Stored::Duplicate,
    };
    keys.iter().map(stored).collect()
}

impl<'a> Group<'a> {
    fn add_delivery(&mut self, delivery: &'a Delivery) -> Vec<Option<Key>> {
        let (delivery_key, source) = (random_key(), delivery.source.label());
        let mut keys: Vec<Option<Key>> = Vec::with_capacity(delivery.updates());
        for Message { id, from, to, ts, text, details } in &delivery.messages {
            let key = message_key(id.as_str());
            if details.is_some() {
                self.provided.push((id.as_str(), key, delivery_key));
            }
            keys.push(self.add(Row {
                key,
                message_id: id.as_str(),
                from: from.as_str(),
                to: to.as_str(),
                ts: ts.as_str(),
                text: text.as_ref().map(|text| text.as_str()),
                created_at: None,
                moment: ts.moment(),
                details: details.as_ref().map(|details| Provider {
                    source,
                    kind: &details.kind,
                    from_id: details.from_id.as_deref(),
                    profile_name: details.profile_name.as_deref(),
                    channel: details.channel.as_deref(),
                    reply_to: details.reply_to.as_deref(),
                    delivery: Some(delivery_key),
                    at: details.place.start as i64, // a body is in memory
                    bytes: details.place.len() as i64,
                }),
                place: 0,
            }));
        }
        for StatusUpdate { message_id, status, recipient, ts, error_code } in &delivery.statuses {
            let (message_id, recipient) = (message_id.as_str(), recipient.as_str());
            let error_code = *error_code;
            let status = (message_id, status.as_str(), recipient, ts.as_str(), error_code);
            keys.push(self.add_status(status, None, delivery_key));
        }
        self.deliveries.extend(delivery.raw.as_ref().map(|raw| Raw {
            key: delivery_key,
            source,
            received_at: None,
            fields: &raw.fields,
            body: &raw.body,
            ignored: delivery.updates() == 0,
            altered: false,
        }));
        keys
    }

    fn add_line(&mut self, line: &'a Exported) -> Vec<Option<Key>> {
        let KeptDelivery { source, received_at, fields, body, altered, messages, statuses } = match line {
            Exported::Message(record) => return vec![self.add_record(record, None)],
            Exported::Delivery(delivery) => delivery,
        };
        let key = random_key();
        let of_messages =
            messages.iter().map(|KeptMessage { record, at, bytes }| self.add_record(record, Some((key, *at, *bytes))));
        let mut keys: Vec<Option<Key>> = of_messages.collect();
        for KeptStatus { message_id, status, recipient, ts, error_code } in statuses {
            keys.push(self.add_status((message_id, status, recipient, ts, *error_code), Some(received_at), key));
        }
        let (body, ignored, altered) = (body.as_bytes(), keys.is_empty(), *altered);
        self.deliveries.push(Raw { key, source, received_at: Some(received_at), fields, body, ignored, altered });
        keys
    }

    fn add_record(&mut self, record: &'a Record, delivery: Option<(Key, i64, i64)>) -> Option<Key> {
        let Record { message_id, from, to, ts, text, created_at, details } = record;
        self.add(Row {
            key: message_key(message_id),
            message_id,
            from,
            to,
            ts,
            text: text.as_deref(),
            created_at: Some(created_at),
            moment: moment_of(ts),
            details: details.as_ref().map(|details| Provider {
                source: &details.source,
                kind: &details.kind,
                from_id: details.from_id.as_deref(),
                profile_name: details.profile_name.as_deref(),
                channel: details.channel.as_deref(),
                reply_to: details.reply_to.as_deref(),
                delivery: delivery.map(|(key, ..)| key),
                at: delivery.map_or(0, |(_, at, _)| at),
                bytes: delivery.map_or(0, |(.., bytes)| bytes),
            }),
            place: 0,
        })
    }

    fn add(&mut self, row: Row<'a>) -> Option<Key> {
        let key = row.key;
        let place = self.messages.len() as i32; // a group has fewer by far
        self.known.insert(key).then(|| self.messages.push(Row { place, ..row })).map(|()| key)
    }

    fn add_status(
        &mut self,
        (message_id, status, recipient, ts, error_code): (&'a str, &'a str, &'a str, &'a str, Option<i64>),
        received_at: Option<&'a str>,
        delivery: Key,
    ) -> Option<Key> {
        let key = status_key(message_id, status, recipient);
        let place = self.statuses.len() as i32;
        let status = Status { key, message_id, status, recipient, ts, error_code, received_at, delivery, place };
        self.known.insert(key).then(|| self.statuses.push(status)).map(|()| key)
    }
}

impl Writer {
    pub(super) fn new(url: Url) -> Writer {
        Writer { url, connection: None, late: None, abandoned: Vec::new() }
    }

    /// Writes a group, which may be empty, and returns the keys of what is new.
    pub(super) fn write(&mut self, group: &mut Group<'_>) -> Result<HashSet<Key>, Fault> {
        group.messages.sort_unstable_by_key(|row| row.key);
        group.statuses.sort_unstable_by_key(|status| status.key);
        let begun = Instant::now();
        self.settle()?;
        let mut reconnected = false;
        loop {
            let left = COMMIT_TIME.saturating_sub(begun.elapsed());
            let open = match &mut self.connection {
                Some(open) => open,
                none => {
                    reconnected = true;
                    none.insert(Open::new(&self.url)?)
                }
            };
            let fault = match open.write(group, left) {
                Ok(created) => return Ok(created),
                Err(fault) => fault,
            };
            if fault.is_lost() {
                self.connection = None;
            }
            match &fault {
                Fault::Late(_) => self.late = Some(begun),
                _ if fault.is_lost() && !reconnected => continue,
                _ if fault.is_conflict() && begun.elapsed() < COMMIT_TIME => {
                    std::thread::sleep(CONFLICT_PAUSE);
                    continue;
                }
                _ => {}
            }
            return Err(fault);
        }
    }

    /// Whether a group can be written, after one that was late.
    fn settle(&mut self) -> Result<(), Fault> {
        self.abandoned.retain_mut(|connection| connection.settled().is_none());
        let Some(since) = self.late else { return Ok(()) };
        let settled = self.connection.as_mut().map_or(Some(false), |open| open.connection.settled());
        match settled {
            Some(usable) => {
                self.connection = self.connection.take().filter(|_| usable);
                self.late = None;
                Ok(())
            }
            None if since.elapsed() >= ABANDON_TIME && self.abandoned.len() < ABANDONED_MAX => {
                self.abandoned.extend(self.connection.take().map(|open| open.connection));
                self.late = None;
                Ok(())
            }
            None => Err(Fault::Late(since.elapsed())),
        }
    }
}

impl Open {
    fn new(url: &Url) -> Result<Open, Fault> {
        let mut connection = Connection::open(url, SETTINGS)?;
        let erasure_key = schema::look(&mut connection)?;
        Ok(Open { connection, erasure_key })
    }

    fn write(&mut self, group: &Group<'_>, time: Duration) -> Result<HashSet<Key>, Fault> {
        let Group { messages, statuses, deliveries, provided, .. } = group;
        fn column<'r, R, T>(rows: &'r [R], field: impl Fn(&'r R) -> T) -> Vec<T> {
            rows.iter().map(field).collect()
        }
        fn detail<'r, T>(row: &'r Row<'_>, field: impl Fn(&'r Provider<'_>) -> Option<T>) -> Option<T> {
            row.details.as_ref().and_then(field)
        }
        let keys = column(messages, |row| row.key.as_slice());
        let ids = column(messages, |row| escaped(row.message_id));
        let from = column(messages, |row| escaped(row.from));
        let to = column(messages, |row| escaped(row.to));
        let ts = column(messages, |row| escaped(row.ts));
        let text = column(messages, |row| row.text.map(escaped));
        let text_folded = column(messages, |row| row.text.map(folded));
        let created_at = column(messages, |row| row.created_at.map(escaped));
        let ts_us = column(messages, |row| row.moment.us);
        let ts_ns = column(messages, |row| row.moment.ns as i16); // 0 to 999
        let source = column(messages, |row| detail(row, |details| Some(escaped(details.source))));
        let kind = column(messages, |row| detail(row, |details| Some(escaped(details.kind))));
        let from_id = column(messages, |row| detail(row, |details| details.from_id.map(escaped)));
        let profile_name = column(messages, |row| detail(row, |details| details.profile_name.map(escaped)));
        let channel = column(messages, |row| detail(row, |details| details.channel.map(escaped)));
        let reply_to = column(messages, |row| detail(row, |details| details.reply_to.map(escaped)));
        let delivery =
            column(messages, |row| detail(row, |details| details.delivery.as_ref().map(|key| key.as_slice())));
        let at = column(messages, |row| detail(row, |details| Some(details.at)));
        let bytes = column(messages, |row| detail(row, |details| Some(details.bytes)));
        let place = column(messages, |row| row.place);

        let hashes = column(provided, |(id, ..)| erased::hash(&self.erasure_key, id));
        let hashes = column(&hashes, |hash| hash.as_slice());
        let provided_keys = column(provided, |(_, key, _)| key.as_slice());
        let provided_by = column(provided, |(_, _, delivery)| delivery.as_slice());

        let status_keys = column(statuses, |status| status.key.as_slice());
        let status_ids = column(statuses, |status| escaped(status.message_id));
        let status_words = column(statuses, |status| escaped(status.status));
        let recipient = column(statuses, |status| escaped(status.recipient));
        let status_ts = column(statuses, |status| escaped(status.ts));
        let error_code = column(statuses, |status| status.error_code);
        let status_at = column(statuses, |status| status.received_at.map(escaped));
        let status_by = column(statuses, |status| status.delivery.as_slice());
        let status_place = column(statuses, |status| status.place);

        let raw_keys = column(deliveries, |raw| raw.key.as_slice());
        let raw_source = column(deliveries, |raw| escaped(raw.source));
        let raw_at = column(deliveries, |raw| raw.received_at.map(escaped));
        let raw_fields = column(deliveries, |raw| escaped(raw.fields));
        let raw_body = column(deliveries, |raw| raw.body);
        let raw_ignored = column(deliveries, |raw| raw.ignored);
        let raw_altered = column(deliveries, |raw| raw.altered);
        let commit_id = random_key();

        let rows = self.connection.query(
            include_str!("../../../sql/postgres/write.sql"),
            &[
                &keys,
                &ids,
                &from,
                &to,
                &ts,
                &text,
                &text_folded,
                &created_at,
                &ts_us,
                &ts_ns,
                &source,
                &kind,
                &from_id,
                &profile_name,
                &channel,
                &reply_to,
                &delivery,
                &at,
                &bytes,
                &place,
                &hashes,
                &provided_keys,
                &provided_by,
                &status_keys,
                &status_ids,
                &status_words,
                &recipient,
                &status_ts,
                &error_code,
                &status_at,
                &status_by,
                &status_place,
                &raw_keys,
                &raw_source,
                &raw_at,
                &raw_fields,
                &raw_body,
                &raw_ignored,
                &raw_altered,
                &commit_id.as_slice(),
            ],
            time,
        )?;
        self.connection.warned()?;
        Ok(rows.iter().filter_map(|row| row.get::<_, &[u8]>(0).try_into().ok()).collect())
    }
}
