//! The endpoints: one `match` on method and path, then a function each.
//!
//! It turns a whole request into a whole answer and knows nothing of connections.

mod refusals;

mod openapi;

use crate::access::{Access, Denied};
use crate::activity::{self, Activity};
use crate::answer::{self, Answer, Delivered, Waited, WebhookResult};
use crate::delivery::{Delivery, Raw, Source};
use crate::log::Log;
use crate::metrics::{Metrics, Page};
use crate::page;
use crate::path::{self, Audience, Path};
use crate::query::Parameters;
use crate::query::order::{Given, Place};
use crate::query::{arrivals, history, statuses};
use crate::refusals::Sent;
use crate::reply::{Fault, Reply, Status};
use crate::store::{self, Arrival, Item, Outcome, Provided, ReadError, Store, Stored, Unavailable, sqlite_version};
use crate::webhook::meta::{self, Meta};
use crate::webhook::{self, Rejection, Sources};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

/// A request as the endpoints see it.
pub struct Request<'a> {
    /// As sent; methods are case-sensitive (RFC 9110 section 9.1).
    pub method: &'a str,
    /// The target up to `?`.
    pub path: &'a str,
    /// The target from `?` on, without it.
    pub query: &'a str,
    /// Name and value of each header field that the gate passes on.
    pub fields: &'a [(&'a str, &'a str)],
    /// The value of each `Authorization`.
    pub authorizations: &'a [&'a str],
    /// The value of `Host`; HTTP/1.0 need not have one.
    pub host: Option<&'a str>,
    /// The body, whole; empty where there is none.
    pub body: Vec<u8>,
    /// None: it is asked for the first time.
    pub waited: Option<Waited>,
}

/// What is to be done with a request.
pub enum Step {
    /// Send this.
    Answer(Answer),
    /// Store a delivery that nothing is wrong with. Once it is known what became of its messages, [`stored`] is the answer.
    Store(Delivery),
    /// Ask again: there is nothing yet, and the client waits.
    Wait(Wait),
}

/// What a client waits for: messages, or statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// How long, from the first answer of this kind on.
    pub time: Duration,
    /// What arrives after this one; what came before it does not match.
    pub cursor: i64,
}

/// All that the endpoints need.
pub struct Api {
    /// Whose deliveries are taken.
    pub sources: Sources,
    /// Who may read.
    pub access: Access,
    /// None: it is off.
    pub page: Option<page::Page>,
    /// What is read, and written to.
    pub store: Arc<Store>,
    /// What gate and server count: both are declared above this module.
    pub metrics_before: [Metrics; 2],
    /// Where faults are logged.
    pub log: Log,
    /// Once it is true, the service answers that it is not ready.
    pub stopping: Arc<AtomicBool>,
    /// When the process started.
    pub started: SystemTime,
}

impl Api {
    /// What is to be done with a request: it is looked at whole, and nothing is waited for.
    pub fn answer(&self, request: &Request<'_>) -> Step {
        let path = match Path::route(request.method, request.path) {
            Ok(path) => path,
            Err(refusal) => return Step::Answer(refusal.into()),
        };
        match path {
            Path::Webhook | Path::WebhookMeta => self.webhook(path, request),
            Path::Messages => self.read(path, request, || self.messages(request.query)),
            Path::Arrivals => self.read(path, request, || self.arrivals(request.query, request.waited)),
            Path::Arrival => self.read(path, request, || self.arrival(request.path)),
            Path::ArrivalDelivery => self.read(path, request, || self.delivery(request.path)),
            Path::Statuses => self.read(path, request, || self.statuses(request.query, request.waited)),
            Path::Stats => self.read(path, request, || self.stats()),
            Path::History => self.read(path, request, || self.history(request.query)),
            Path::Sources => self.read(path, request, || self.sources()),
            Path::Refusals => self.read(path, request, || refusals::list(request.query)),
            Path::Refusal => self.read(path, request, || refusals::one(request.path, &self.sources)),
            Path::Metrics => self.read(path, request, || self.metrics()),
            Path::OpenApi => self.read(path, request, || Answer::from(openapi::document())),
            Path::Root | Path::Inbox | Path::InboxAsset | Path::LogIn | Path::LogOut => self.page(path, request).into(),
            Path::Live => health("ok").into(),
            Path::Ready => self.ready().into(),
        }
    }

    fn page(&self, path: Path, request: &Request<'_>) -> Answer {
        let form = page::Form { fields: request.fields, host: request.host, body: &request.body };
        let answer = self.page.as_ref().and_then(|page| match path {
            Path::Root => Some(page::see_other(Path::Inbox.label()).into()),
            Path::Inbox => Some(page.document().into()),
            Path::LogIn => page.log_in.as_ref().map(|log_in| log_in.log_in(form)),
            Path::LogOut => page.log_in.as_ref().map(|log_in| log_in.log_out(form)),
            _ => path::asset(request.path).and_then(|name| page.asset(name)).map(Answer::from),
        });
        answer.unwrap_or_else(|| Reply::detail(Status::NotFound, "Not Found").into())
    }

    /// Answers a read, if the client may have it. No cache may keep messages and figures for another.
    fn read<T: Into<Step>>(&self, path: Path, request: &Request<'_>, read: impl FnOnce() -> T) -> Step {
        let may = match path.audience() {
            Audience::Everybody => Ok(()),
            Audience::SameHost => self.access.check_host(request.host),
            Audience::Readers => self.access.check(request.authorizations, request.host).or_else(|denied| {
                let log_in = self.page.as_ref().and_then(|page| page.log_in.as_ref());
                let log_in = log_in.filter(|_| request.authorizations.is_empty());
                log_in.map_or(Err(denied), |log_in| log_in.check(request.fields))
            }),
        };
        let mut step = match may {
            Ok(()) => read().into(),
            Err(Denied::Token) => not_authorized().into(),
            Err(Denied::Host) => misdirected().into(),
            Err(Denied::CrossSite) => Answer::from(page::cross_site()).into(),
        };
        if let Step::Answer(answer) = &mut step
            && path.audience() == Audience::Readers
        {
            answer.reply.headers.push(("Cache-Control", "no-store".to_owned()));
        }
        step
    }

    /// Deliveries and handshakes. Of those that are refused, an operator can see what was wrong.
    fn webhook(&self, path: Path, request: &Request<'_>) -> Step {
        let mut step = match (path, &self.sources.meta) {
            (Path::Webhook, _) => self.receive(self.sources.at_webhook(request.fields), request),
            (_, None) => Answer::from(Reply::detail(Status::NotFound, "Not Found")).into(),
            (_, Some(_)) if path.is_delivery(request.method) => self.receive(Source::Meta, request),
            (_, Some(meta)) => handshake(meta, request.query).into(),
        };
        if let Step::Answer(answer) = &mut step
            && answer.reply.status != Status::Ok
        {
            let signature = webhook::signature_lines(request.fields.iter().copied());
            answer.sent = Some(Sent::new(signature, &request.body));
        }
        step
    }

    fn receive(&self, source: Source, request: &Request<'_>) -> Step {
        match webhook::receive(source, &self.sources, request.fields, &request.body) {
            Ok(delivery) => Step::Store(delivery),
            Err(Rejection::InvalidSignature(fault)) => {
                let reply = Reply::detail(Status::Unauthorized, "invalid signature");
                let answer = Answer { reason: Some(fault.reason().to_owned()), ..reply.into() };
                delivered(answer, source, WebhookResult::InvalidSignature, None).into()
            }
            Err(Rejection::Invalid(faults)) => {
                delivered(invalid(&faults), source, WebhookResult::ValidationError, None).into()
            }
        }
    }

    fn messages(&self, query: &str) -> Answer {
        #[derive(Serialize)]
        struct Messages {
            data: Vec<Item>,
            total: u64,
            limit: usize,
            offset: u64,
        }
        let parameters = Parameters::decode(query);
        let query = match parameters.check() {
            Ok(query) => query,
            Err(faults) => return invalid(&faults),
        };
        match self.store.page(&query.selection) {
            Ok(page) => {
                let limit = query.selection.limit;
                let body = Messages { data: page.items, total: page.total, limit, offset: query.offset };
                let reply = Reply::json(&body);
                match page.next {
                    Some(cursor) => linked(reply, "next", &parameters.next(&cursor)).into(),
                    None => reply.into(),
                }
            }
            Err(error) => unread(&error),
        }
    }

    fn arrivals(&self, query: &str, waited: Option<Waited>) -> Step {
        #[derive(Serialize)]
        struct Page {
            data: Vec<Arrival>,
            next: String,
            oldest: i64,
            changes: i64,
        }
        let given = Given::decode(query, &arrivals::NAMES);
        let mut query = match arrivals::check(&given) {
            Ok(query) => query,
            Err(faults) => return invalid(&faults).into(),
        };
        resume(&mut query.selection.place, &mut query.wait, waited);
        let page = match self.store.arrivals(&query.selection) {
            Ok(page) => page,
            Err(error) => return unread(&error).into(),
        };
        if page.items.is_empty() && !page.more && !query.wait.is_zero() {
            return Step::Wait(Wait { time: query.wait, cursor: page.next });
        }
        let (oldest, changes) = (page.oldest, page.changes);
        let reply = Reply::json(&Page { data: page.items, next: page.next.to_string(), oldest, changes });
        let after = page.more.then_some(page.next);
        Step::Answer(beside_others(reply, &given, Path::Arrivals, after, page.before).into())
    }

    /// For each of those that wait, by cursor and target of the request: the cursor from which it waits on, or None if it
    /// is to be asked again.
    pub fn woken(&self, waiting: &[(i64, &str)]) -> Result<Vec<Option<i64>>, ReadError> {
        let is_at = |target: &str, path: Path| target.split('?').next() == Some(path.label());
        let filter = |target: &str| {
            let (_, query) = target.split_once('?')?;
            Some(arrivals::check(&Given::decode(query, &arrivals::NAMES)).ok()?.selection.filter)
        };
        let follows = waiting.iter().filter(|(_, target)| is_at(target, Path::Arrivals));
        let followers =
            follows.map(|&(cursor, target)| (cursor, filter(target).unwrap_or_default())).collect::<Vec<_>>();
        let (last, may_match) = self.store.followed(&followers)?;
        let last_status = self.store.last_status()?;
        let mut may_match = may_match.into_iter();
        let cursors = waiting.iter().map(|&(cursor, target)| match is_at(target, Path::Statuses) {
            true => (last_status <= cursor).then_some(cursor),
            false => (!may_match.next().unwrap_or(true)).then_some(last),
        });
        Ok(cursors.collect())
    }

    fn arrival(&self, path: &str) -> Answer {
        #[derive(Serialize)]
        struct One<'a> {
            #[serde(flatten)]
            arrival: Arrival,
            channel: Option<String>,
            context: Option<Context>,
            /// The message as it came.
            raw: Option<&'a RawValue>,
        }
        #[derive(Serialize)]
        struct Context {
            message_id: String,
        }
        let found = path::arrival(path).map_or(Ok(None), |seq| {
            let arrival = self.store.arrival(seq)?;
            arrival.map(|arrival| Ok((arrival, self.store.provided(seq)?))).transpose()
        });
        match found {
            Ok(Some((arrival, provided))) => {
                let Provided { channel, reply_to, raw, place, .. } = provided.unwrap_or_default();
                let raw = raw.as_ref().and_then(|raw| serde_json::from_slice(raw.body.get(place)?).ok());
                let context = reply_to.map(|message_id| Context { message_id });
                Reply::json(&One { arrival, channel, context, raw }).into()
            }
            Ok(None) => Reply::detail(Status::NotFound, "there is no message with this seq").into(),
            Err(error) => unread(&error),
        }
    }

    /// The delivery that brought a message, byte for byte, with the fields that its signature was in, and the seq of the
    /// last message in it.
    fn delivery(&self, path: &str) -> Answer {
        match path::arrival(path).map_or(Ok(None), |seq| self.store.provided(seq)) {
            Ok(Some(Provided { raw: Some(Raw { fields, body }), last_seq, .. })) => {
                let reply = Reply::attachment(body, "delivery.json").with("Inbox-Signature", visible(&fields));
                reply.with("Inbox-Last-Seq", last_seq.to_string()).into()
            }
            Ok(_) => {
                let detail = "no delivery is kept for this seq: the message is native, or the delivery was deleted or parts of \
                              it were erased";
                Reply::detail(Status::NotFound, detail).into()
            }
            Err(error) => unread(&error),
        }
    }

    fn statuses(&self, query: &str, waited: Option<Waited>) -> Step {
        #[derive(Serialize)]
        struct Page {
            data: Vec<store::Status>,
            next: String,
            /// Only for one message.
            #[serde(skip_serializing_if = "Option::is_none")]
            current: Option<String>,
        }
        let given = Given::decode(query, &statuses::NAMES);
        let mut query = match statuses::check(&given) {
            Ok(query) => query,
            Err(faults) => return invalid(&faults).into(),
        };
        resume(&mut query.selection.place, &mut query.wait, waited);
        let page = match self.store.statuses(&query.selection) {
            Ok(page) => page,
            Err(error) => return unread(&error).into(),
        };
        if page.items.is_empty() && !page.more && !query.wait.is_zero() {
            return Step::Wait(Wait { time: query.wait, cursor: page.next });
        }
        let reply = Reply::json(&Page { data: page.items, next: page.next.to_string(), current: page.current });
        let after = page.more.then_some(page.next);
        Step::Answer(beside_others(reply, &given, Path::Statuses, after, page.before).into())
    }

    fn stats(&self) -> Answer {
        match self.store.stats() {
            Ok(stats) => Reply::json(&stats).into(),
            Err(error) => unread(&error),
        }
    }

    fn history(&self, query: &str) -> Answer {
        #[derive(Serialize)]
        struct History {
            bucket: &'static str,
            data: Vec<Count>,
        }
        #[derive(Serialize)]
        struct Count {
            ts: String,
            count: u64,
        }
        let selection = match history::parse(query, jiff::Timestamp::now().as_second()) {
            Ok(selection) => selection,
            Err(faults) => return invalid(&faults),
        };
        match self.store.history(selection) {
            Ok(counts) => {
                let instant = |start_s| jiff::Timestamp::from_second(start_s).expect("it is near this machine's clock");
                let starts = selection.starts_s().map(|start_s| instant(start_s).to_string());
                let data = starts.zip(counts).map(|(ts, count)| Count { ts, count });
                Reply::json(&History { bucket: selection.bucket.label(), data: data.collect() }).into()
            }
            Err(error) => unread(&error),
        }
    }

    fn sources(&self) -> Answer {
        #[derive(Serialize)]
        struct All {
            data: [One; Source::ALL.len()],
        }
        #[derive(Serialize)]
        struct One {
            source: &'static str,
            configured: bool,
            path: &'static str,
            last_accepted_at: Option<String>,
            last_refused_at: Option<String>,
            last_refused_reason: Option<String>,
            results: BTreeMap<&'static str, u64>,
            last_handshake_at: Option<String>,
            last_handshake_result: Option<&'static str>,
        }
        let data = Source::ALL.map(|source| {
            let Activity { accepted, refused, handshake } = activity::of(source);
            let (refused_at, refused_reason) = refused.unzip();
            let (handshake_at, handshake_refused) = handshake.unzip();
            One {
                source: source.label(),
                configured: self.sources.secrets(source).is_some(),
                path: source.path().label(),
                last_accepted_at: accepted.map(instant),
                last_refused_at: refused_at.map(instant),
                last_refused_reason: refused_reason,
                results: answer::results(source).collect(),
                last_handshake_at: handshake_at.map(instant),
                last_handshake_result: handshake_refused.map(|refused| refused.unwrap_or("ok")),
            }
        });
        Reply::json(&All { data }).into()
    }

    fn ready(&self) -> Answer {
        #[derive(Serialize)]
        struct NotReady<'a> {
            status: &'a str,
            reason: &'a str,
        }
        let reason = if self.stopping.load(Ordering::Relaxed) {
            "the service is stopping".to_owned()
        } else {
            match self.store.ready() {
                Ok(()) => return health("ready"),
                Err(Unavailable(reason)) => reason,
            }
        };
        let body = NotReady { status: "not_ready", reason: &reason };
        let reply = Reply::json_with(Status::ServiceUnavailable, &body).with("Retry-After", "1".to_owned());
        Answer { reason: Some(reason), ..reply.into() }
    }

    fn metrics(&self) -> Answer {
        let mut page = Page::default();
        page.metrics(answer::METRICS);
        page.head("inbox_build_info", "Always 1; the labels say which build this is.", "gauge");
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("sqlite_version", sqlite_version())];
        page.sample("inbox_build_info", &labels, 1);
        let started = self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        page.single("process_start_time_seconds", "When the process started, Unix time.", "gauge", started);
        page.metrics(page::METRICS);
        page.metrics(webhook::METRICS);
        page.metrics(meta::METRICS);
        self.metrics_before.into_iter().for_each(|metrics| page.metrics(metrics));
        page.metrics(store::METRICS);
        let (database, wal) = self.store.sizes();
        for (name, help, bytes) in [
            ("inbox_database_size_bytes", "Size of the database file.", database),
            ("inbox_wal_size_bytes", "Size of the write-ahead log.", wal),
            ("inbox_disk_free_bytes", "Free on the disk of the database.", self.store.disk_free()),
        ] {
            if let Some(bytes) = bytes {
                page.single(name, help, "gauge", bytes);
            }
        }
        let ready = !self.stopping.load(Ordering::Relaxed) && !self.store.write_failed();
        let help = "0 after a write that failed, until one succeeds, while the files cannot be written, and while stopping; else 1.";
        page.single("inbox_ready", help, "gauge", u8::from(ready));
        let help = "Log lines dropped because stdout was closed or stuck.";
        page.single("inbox_log_lines_dropped_total", help, "counter", self.log.lines_dropped());
        let reply = Reply {
            status: Status::Ok,
            content_type: "text/plain; version=0.0.4; charset=utf-8",
            headers: Vec::new(),
            body: page.into_text().into_bytes(),
        };
        reply.into()
    }
}

impl From<Answer> for Step {
    fn from(answer: Answer) -> Step {
        Step::Answer(answer)
    }
}

/// Adds a link (RFC 8288).
fn linked(reply: Reply, relation: &str, target: &str) -> Reply {
    reply.with("Link", format!("<{target}>; rel=\"{relation}\""))
}

/// Adds the links to the pages behind and in front of a part of an order, where there are such.
fn beside_others(mut reply: Reply, given: &Given<'_>, path: Path, after: Option<i64>, before: Option<i64>) -> Reply {
    for (relation, place, seq) in [("next", "after", after), ("prev", "before", before)] {
        if let Some(seq) = seq {
            reply = linked(reply, relation, &given.target(path.label(), place, seq));
        }
    }
    reply
}

/// Has a read that is asked again look from where it was before, and wait no more at the end of its time.
fn resume(place: &mut Place, wait: &mut Duration, waited: Option<Waited>) {
    if let Some(Waited { cursor, is_over, .. }) = waited {
        *place = Place::After(cursor);
        *wait = if is_over { Duration::ZERO } else { *wait };
    }
}

/// An instant by this machine's clock, in milliseconds.
fn instant(at: jiff::Timestamp) -> String {
    format!("{at:.3}")
}

/// Lines of header fields as the value of one field: visible ASCII and blanks.
fn visible(fields: &str) -> String {
    fields.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { ',' }).collect()
}

/// The answer to Meta's handshake.
fn handshake(meta: &Meta, query: &str) -> Answer {
    let Some(token) = &meta.verify_token else { return Reply::detail(Status::NotFound, "Not Found").into() };
    let challenge = token.challenge(query);
    activity::handshake(Source::Meta, challenge.as_ref().err().copied());
    match challenge {
        Ok(challenge) => Reply::text(challenge).into(),
        Err(reason) => {
            let reply = Reply::detail(Status::Forbidden, "not a handshake with the right verify token");
            Answer { reason: Some(reason.to_owned()), ..reply.into() }
        }
    }
}

/// The answer to a delivery, of which that has become. `first_id` is the message_id of its first message or status.
pub fn stored(source: Source, first_id: Option<String>, body_bytes: usize, outcome: Outcome) -> Answer {
    match outcome {
        Ok(stored) => {
            let result = match stored.as_slice() {
                [] => WebhookResult::Ignored,
                stored if stored.contains(&Stored::Created) => WebhookResult::Created,
                _ => WebhookResult::Duplicate,
            };
            delivered(Reply::json(&Word { status: "ok" }).into(), source, result, first_id)
        }
        Err(Unavailable(reason)) => {
            let reply = Reply::unavailable("the message could not be stored; send it again");
            let answer = Answer { reason: Some(reason), sent: Some(Sent::valid(body_bytes)), ..reply.into() };
            delivered(answer, source, WebhookResult::Unavailable, first_id)
        }
    }
}

fn delivered(answer: Answer, source: Source, result: WebhookResult, message_id: Option<String>) -> Answer {
    Answer { delivery: Some(Delivered { source, result, message_id }), ..answer }
}

#[derive(Serialize)]
struct Word {
    status: &'static str,
}

fn health(status: &'static str) -> Answer {
    Reply::json(&Word { status }).into()
}

/// The answer does not say whether the token was missing or wrong.
fn not_authorized() -> Answer {
    Reply::detail(Status::Unauthorized, "invalid read token").with("WWW-Authenticate", "Bearer".to_owned()).into()
}

fn misdirected() -> Answer {
    let detail = "this Host may not read the inbox: set READ_TOKEN, or name the host in ALLOWED_HOSTS";
    Reply::detail(Status::MisdirectedRequest, detail).into()
}

/// 422. The log names fields and types of faults, and no values: those are other people's.
fn invalid(faults: &[Fault]) -> Answer {
    let named: Vec<String> = faults.iter().map(Fault::name).collect();
    Answer { reason: Some(named.join(", ")), ..Reply::faults(faults).into() }
}

/// A read that brought nothing.
fn unread(error: &ReadError) -> Answer {
    let reply = match error {
        ReadError::Unavailable(_) => Reply::unavailable("the database did not answer; try again"),
        ReadError::TimedOut | ReadError::Counting | ReadError::TooManySearches => {
            Reply::unavailable(&error.to_string())
        }
        ReadError::CursorAhead => Reply::detail(Status::Gone, &error.to_string()),
    };
    Answer { reason: Some(error.to_string()), ..reply.into() }
}
