//! `forward`: posts what arrives to another callback URL, in order and at least once.
//!
//! 1. What is posted for a message is read from the service shortly before each attempt. Nothing is held while the
//!    target does not accept it, so a message that is erased meanwhile is not posted.
//! 2. The cursor moves on only after the target has answered 2xx, or after the message is in the file of skipped posts.
//!    A kill between any two steps repeats the last of them.
//! 3. The post and the writes that follow it are one step for SIGTERM and SIGINT, which wait for its end.

mod cursor;

mod skipped;

mod target;

use crate::command::client::{Answer, Url};
use crate::command::service::{NoAnswer, Service, WAIT};
use crate::command::{Failure, sign, tell};
use crate::delivery::Source;
use crate::mutex::UNPOISONED;
use crate::store::{Arrival, Item};
use cursor::Cursor;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use skipped::{Line, Skipped};
use std::path::PathBuf;
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use target::{Refusal, post};

/// Messages of one request: few, because they may be erased while those before them are posted.
const PAGE: &str = "10";

/// The first pause after a failed attempt. Each further one in a row is twice as long.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest pause, unless the target asks for more.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The longest pause that the target can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// What is posted where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// The callback URL.
    pub to: Url,
    /// The file with the seq up to which all is forwarded.
    pub cursor: PathBuf,
    /// Where to begin while there is no such file; None: with what arrives from now on.
    pub after: Option<i64>,
    /// Providers' deliveries are signed with the secrets of these settings.
    pub resign: bool,
    /// How often the target may refuse a message before it is skipped; None: for ever.
    pub skip_after: Option<u64>,
    /// The file of what was skipped; None: beside the cursor file.
    pub skipped: Option<PathBuf>,
    /// Of the service; None: the one of this machine.
    pub url: Option<Url>,
}

pub(super) fn forward(forwarding: Forwarding) -> Result<(), Failure> {
    let Forwarding { to, cursor, after, resign, skip_after, skipped, url } = forwarding;
    let service = Service::at(url)?;
    let cursor = Cursor::lock(&cursor)?;
    let skipped = Skipped::at(skipped.unwrap_or_else(|| cursor.beside(".skipped")))?;
    let after = match cursor.read()? {
        Some(seq) => Some(seq),
        None => after,
    };
    end_at_signal()?;
    let to_path = to.path_or("/");
    tell(&format!("webhook-inbox: forwarding to http://{}{to_path}, cursor in {}", to.authority(), cursor.name()));
    let mut forwarder =
        Forwarder { service, to, cursor, after, resign, skip_after, skipped, refused: None, trouble: None };
    let mut pause = PAUSE_MIN;
    loop {
        let before = forwarder.after;
        let Err(hitch) = forwarder.round() else {
            forwarder.well();
            pause = PAUSE_MIN;
            continue;
        };
        let (why, asked) = match hitch {
            Hitch::ForNow { why, retry_after } => (why, retry_after.unwrap_or_default().min(RETRY_AFTER_MAX)),
            Hitch::ForGood(failure) => return Err(failure),
        };
        if forwarder.after != before {
            pause = PAUSE_MIN;
        }
        forwarder.trouble(&why, pause.max(asked));
        std::thread::sleep(pause.max(asked));
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Why a round ended early.
enum Hitch {
    /// Another attempt may go better, after the time that the target asks for.
    ForNow { why: String, retry_after: Option<Duration> },
    /// None will.
    ForGood(Failure),
}

/// What is posted for a message, and for those that came with it.
struct Parcel {
    last_seq: i64,
    /// Header lines of the signature, each with its line end.
    fields: String,
    body: Vec<u8>,
}

/// What there is to post for a message that was listed.
enum Found {
    Parcel(Parcel),
    /// Nothing, because its delivery is not kept as it came: an erasure has altered it, or the message was imported
    /// alone.
    NotKept(Box<Arrival>),
    /// Nothing, because it was deleted since.
    Gone,
}

struct Forwarder {
    service: Service,
    to: Url,
    cursor: Cursor,
    /// All up to this seq is forwarded; None: it is not known yet where to begin.
    after: Option<i64>,
    resign: bool,
    skip_after: Option<u64>,
    skipped: Skipped,
    /// The seq that the target has not taken, and how often.
    refused: Option<(i64, u64)>,
    /// What was said last of what is wrong.
    trouble: Option<String>,
}

impl Forwarder {
    /// Forwards the next page of messages, or waits for one.
    fn round(&mut self) -> Result<(), Hitch> {
        let Some(after) = self.after else {
            let (page, _) = self.service.arrivals([("after", "now")])?;
            return self.move_on(seq(&page.next)?);
        };
        let place = after.to_string();
        let wait = WAIT.as_secs().to_string();
        let asked = self.service.arrivals([("after", place.as_str()), ("limit", PAGE), ("wait", &wait)]);
        let (page, _) = asked.map_err(|no_answer| self.ahead(no_answer, after))?;
        let deleted = page.oldest - 1;
        if 0 < after && after < deleted {
            tell(&format!("webhook-inbox: messages up to seq {deleted} were deleted before they were forwarded"));
            self.after = Some(deleted); // so that it is said once
        }
        for arrival in &page.data {
            // Others came in the delivery that was posted for the first of them.
            if self.after.is_none_or(|after| after < arrival.seq) {
                self.forward(arrival)?;
                self.well();
            }
        }
        self.after = self.after.max(Some(seq(&page.next)?));
        Ok(())
    }

    /// Posts a message, and moves on when that is done.
    fn forward(&mut self, arrival: &Arrival) -> Result<(), Hitch> {
        let parcel = match self.find(arrival)? {
            Found::Parcel(parcel) => parcel,
            Found::NotKept(arrival) => {
                let parcel = Parcel { last_seq: arrival.seq, fields: String::new(), body: native(&arrival) };
                let _step = step();
                return self.skip(arrival.seq, &parcel, "its delivery is not kept as it came");
            }
            Found::Gone => return self.move_on(arrival.seq),
        };
        let _step = step();
        let Refusal { why, reached, retry_after } = match post(&self.to, &parcel.fields, &parcel.body) {
            Ok(()) => return self.move_on(parcel.last_seq),
            Err(refusal) => refusal,
        };
        let times = self.refused.filter(|(seq, _)| *seq == arrival.seq).map_or(0, |(_, times)| times);
        let times = times + u64::from(reached);
        if self.skip_after.is_some_and(|most| most <= times) {
            return self.skip(arrival.seq, &parcel, &why);
        }
        self.refused = Some((arrival.seq, times));
        Err(Hitch::ForNow { why, retry_after })
    }

    /// What is posted for a message, as it is now.
    fn find(&self, arrival: &Arrival) -> Result<Found, Hitch> {
        let source = Source::ALL.into_iter().find(|source| source.label() == arrival.source);
        match source {
            Some(Source::Native | Source::Standard) => {
                let body = native(arrival);
                let fields = signed(Source::Native, &body)?;
                Ok(Found::Parcel(Parcel { last_seq: arrival.seq, fields, body }))
            }
            Some(source @ Source::Meta) => self.delivery(source, arrival.seq),
            None => {
                let said =
                    format!("seq {} came from {:?}, which this version does not know", arrival.seq, arrival.source);
                Err(Hitch::ForGood(Failure::failed(format!("{said}. Use the version of the service."))))
            }
        }
    }

    /// The delivery that brought a message.
    fn delivery(&self, source: Source, seq: i64) -> Result<Found, Hitch> {
        let answer = match self.service.get(&format!("/arrivals/{seq}/delivery")) {
            Ok(answer) => answer,
            Err(NoAnswer::Refused { status: 404, .. }) => return self.without_delivery(seq),
            Err(no_answer) => return Err(no_answer.into()),
        };
        let last_seq = answer.field("Inbox-Last-Seq").and_then(|seq| seq.parse().ok()).unwrap_or(seq);
        let fields = if self.resign { signed(source, &answer.body)? } else { original(&answer) };
        Ok(Found::Parcel(Parcel { last_seq, fields, body: answer.body }))
    }

    fn without_delivery(&self, seq: i64) -> Result<Found, Hitch> {
        let answer = match self.service.get(&format!("/arrivals/{seq}")) {
            Ok(answer) => answer,
            Err(NoAnswer::Refused { status: 404, .. }) => return Ok(Found::Gone),
            Err(no_answer) => return Err(no_answer.into()),
        };
        let arrival = serde_json::from_slice(&answer.body);
        arrival.map(Found::NotKept).map_err(|error| for_now(format!("the service's answer is not a message: {error}")))
    }

    /// Writes what cannot be posted into the file, and moves on.
    fn skip(&mut self, seq: i64, parcel: &Parcel, reason: &str) -> Result<(), Hitch> {
        let Parcel { last_seq, fields, body } = parcel;
        let line = Line {
            seq,
            last_seq: *last_seq,
            reason,
            fields: fields.lines().collect(),
            body: &String::from_utf8_lossy(body),
        };
        self.skipped.append(&line).map_err(Hitch::ForGood)?;
        tell(&format!("webhook-inbox: seq {seq} was skipped and is in {}: {reason}", self.skipped.name()));
        self.move_on(*last_seq)
    }

    /// All up to this seq is done.
    fn move_on(&mut self, seq: i64) -> Result<(), Hitch> {
        self.cursor.write(seq).map_err(Hitch::ForGood)?;
        self.after = Some(seq);
        self.refused = None;
        Ok(())
    }

    /// The answer to a cursor that this database has not given says what to do.
    fn ahead(&self, no_answer: NoAnswer, after: i64) -> Hitch {
        match no_answer {
            NoAnswer::Refused { status: 410, .. } => Hitch::ForGood(Failure::failed(format!(
                "the cursor {after} of {file} is ahead of the database: an older backup was restored. Write into \
                 {file} after which seq to continue, or remove it to begin with what arrives from now on.",
                file = self.cursor.name()
            ))),
            no_answer => no_answer.into(),
        }
    }

    /// Says what is wrong, once.
    fn trouble(&mut self, why: &str, pause: Duration) {
        if self.trouble.as_deref() != Some(why) {
            tell(&format!("webhook-inbox: {why}; trying again in {} s", pause.as_secs()));
            self.trouble = Some(why.to_owned());
        }
    }

    /// Says that nothing is wrong any more.
    fn well(&mut self) {
        if self.trouble.take().is_some() {
            tell("webhook-inbox: forwarding continues");
        }
    }
}

impl From<NoAnswer> for Hitch {
    fn from(no_answer: NoAnswer) -> Hitch {
        match no_answer {
            NoAnswer::ForNow(why) => for_now(why.trim_end_matches('.').to_owned()),
            NoAnswer::Refused { said, .. } => Hitch::ForGood(Failure::failed(said)),
        }
    }
}

fn for_now(why: String) -> Hitch {
    Hitch::ForNow { why, retry_after: None }
}

fn seq(cursor: &str) -> Result<i64, Hitch> {
    cursor.parse().map_err(|_| for_now(format!("the service's cursor {cursor:?} is not a number")))
}

/// The message in the native format (src/webhook/native.rs).
fn native(arrival: &Arrival) -> Vec<u8> {
    let Arrival { message_id, from, to, ts, text, .. } = arrival.clone();
    serde_json::to_vec(&Item { message_id, from, to, ts, text })
        .expect("an item has string keys and no failing Serialize")
}

/// Header lines with a signature made now. The secret is read each time, so one that is changed is used from then on.
fn signed(source: Source, body: &[u8]) -> Result<String, Hitch> {
    let secret = sign::secret(source).map_err(Hitch::ForGood)?;
    Ok(sign::fields(source, &secret, body).iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect())
}

/// Header lines with the signature that the delivery came with.
fn original(answer: &Answer) -> String {
    let fields = answer.field("Inbox-Signature").unwrap_or_default();
    fields.split(',').filter(|field| !field.is_empty()).map(|field| format!("{field}\r\n")).collect()
}

/// Held for as long as a step lasts, in which a signal does not end the process.
static STEP: Mutex<()> = Mutex::new(());

/// There was a signal: no further step begins.
static STOPPING: AtomicBool = AtomicBool::new(false);

fn step() -> MutexGuard<'static, ()> {
    if STOPPING.load(Ordering::Relaxed) {
        exit(0); // the mutex is not fair: the thread that waits for it might get it only after many steps
    }
    STEP.lock().expect(UNPOISONED)
}

/// From now on a signal ends the process, with exit status 0, once the step is over that it is in.
fn end_at_signal() -> Result<(), Failure> {
    let fault = |error| Failure::failed(format!("cannot handle signals: {error}"));
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(fault)?;
    let wait = move || {
        if signals.forever().next().is_some() {
            STOPPING.store(true, Ordering::Relaxed);
            let _step = STEP.lock().expect(UNPOISONED);
            exit(0);
        }
    };
    std::thread::Builder::new().name("signal".to_owned()).spawn(wait).map(|_| ()).map_err(fault)
}
