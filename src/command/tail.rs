//! `tail`: the messages of a running service in the order of their arrival, and those that arrive from then on.

use crate::command::client::{Answer, Url};
use crate::command::service::{NoAnswer, Page, Service, WAIT};
use crate::command::terminal::marked;
use crate::command::{Failure, tell};
use crate::log::json_line;
use crate::mutex::UNPOISONED;
use crate::store::Arrival;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{ErrorKind, IsTerminal, Write};
use std::process::exit;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Most messages of one request.
const PAGE: usize = 100;

/// The longest pause between two attempts to reach the service.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What to print, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Following {
    /// Those that arrive later too.
    pub follow: bool,
    /// How many of the newest to begin with.
    pub count: usize,
    /// The cursor to begin after, instead.
    pub after: Option<String>,
    /// JSON, on a terminal too.
    pub json: bool,
    /// Parameters of /arrivals that choose messages.
    pub filters: Vec<(&'static str, String)>,
    /// End after so many messages.
    pub max: Option<u64>,
    /// End after this time.
    pub timeout: Option<Duration>,
    /// Of the service; None: the one of this machine.
    pub url: Option<Url>,
}

impl Default for Following {
    fn default() -> Following {
        Following {
            follow: false,
            count: 10,
            after: None,
            json: false,
            filters: Vec::new(),
            max: None,
            timeout: None,
            url: None,
        }
    }
}

pub(super) fn tail(following: Following) -> Result<(), Failure> {
    let Following { follow, count, after, json, filters, max, timeout, url } = following;
    let service = Service::at(url)?;
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let cursor = Arc::new(Mutex::new(after.clone()));
    if follow {
        end_at_signal(Arc::clone(&cursor))?;
    }
    let feed = Feed { service, filters, deadline, retries: follow };
    let mut printer = Printer::new(json, max);

    let mut after = match after {
        Some(after) => after,
        None => {
            let Some((newest, next)) = feed.newest(printer.left(count))? else { return printer.end() };
            if printer.print(&newest)? || !follow {
                return Ok(());
            }
            next
        }
    };
    loop {
        *cursor.lock().expect(UNPOISONED) = Some(after.clone());
        let wait = if follow { feed.time_left().min(WAIT) } else { Duration::ZERO };
        let wait_s = wait.as_secs() + u64::from(wait.subsec_nanos() > 0); // whole seconds, rounded up
        let place = [("after", after), ("wait", wait_s.to_string()), ("limit", printer.left(PAGE).to_string())];
        let Some((page, answer)) = feed.ask(&place)? else { return printer.end() };
        if printer.print(&page.data)? || (!follow && link(&answer, "next").is_none()) {
            return Ok(());
        }
        if feed.is_over() {
            return printer.end();
        }
        after = page.next;
    }
}

/// What is asked of the service, and for how long.
struct Feed {
    service: Service,
    filters: Vec<(&'static str, String)>,
    deadline: Option<Instant>,
    /// Asks again when it does not answer.
    retries: bool,
}

impl Feed {
    /// The newest messages, oldest first, and the cursor behind them. None: the time is over.
    fn newest(&self, count: usize) -> Result<Option<(Vec<Arrival>, String)>, Failure> {
        if count == 0 {
            let now = [("after", "now".to_owned())];
            return Ok(self.ask(&now)?.map(|(page, _)| (Vec::new(), page.next)));
        }
        let (mut newest, mut next, mut before) = (Vec::new(), None, None);
        loop {
            let limit = (count - newest.len()).min(PAGE).to_string();
            let place: Vec<_> = before.map(|before| ("before", before)).into_iter().chain([("limit", limit)]).collect();
            let Some((Page { data, next: behind, .. }, answer)) = self.ask(&place)? else { return Ok(None) };
            newest.splice(0..0, data);
            let next = next.get_or_insert(behind);
            before = link(&answer, "prev");
            if newest.len() == count || before.is_none() {
                return Ok(Some((newest, next.clone())));
            }
        }
    }

    fn time_left(&self) -> Duration {
        self.deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()))
    }

    fn is_over(&self) -> bool {
        self.time_left().is_zero()
    }

    /// A page, however many attempts it takes. None: the time is over.
    fn ask(&self, place: &[(&str, String)]) -> Result<Option<(Page, Answer)>, Failure> {
        let mut pause = Duration::from_secs(1);
        loop {
            let filters = self.filters.iter().map(|(name, value)| (*name, value.as_str()));
            let parameters = place.iter().map(|(name, value)| (*name, value.as_str())).chain(filters);
            let why = match self.service.arrivals(parameters) {
                Ok(page) => return Ok(Some(page)),
                Err(NoAnswer::Refused { said, .. }) => return Err(Failure::failed(said)),
                Err(NoAnswer::ForNow(why)) if !self.retries => return Err(Failure::failed(why)),
                Err(NoAnswer::ForNow(why)) => why,
            };
            tell(&format!("webhook-inbox: {why} Trying again in {} s.", pause.as_secs()));
            std::thread::sleep(pause.min(self.time_left()));
            if self.is_over() {
                return Ok(None);
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// The cursor that the `Link` with that relation leads to.
fn link(answer: &Answer, relation: &str) -> Option<String> {
    let target = answer.fields.lines().find_map(|line| {
        let (_, value) = line.split_once(": <").filter(|(name, _)| name.eq_ignore_ascii_case("Link"))?;
        value.strip_suffix(&format!(">; rel=\"{relation}\""))
    })?;
    let (_, query) = target.split_once('?')?;
    let is_cursor = |name: &str| matches!(name, "after" | "before");
    form_urlencoded::parse(query.as_bytes()).find(|(name, _)| is_cursor(name)).map(|(_, cursor)| cursor.into_owned())
}

/// From then on a signal ends the process, with the cursor on stderr. Messages behind it may have been printed already.
fn end_at_signal(cursor: Arc<Mutex<Option<String>>>) -> Result<(), Failure> {
    let fault = |error| Failure::failed(format!("cannot handle signals: {error}"));
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(fault)?;
    let wait = move || {
        if signals.forever().next().is_some() {
            if let Some(cursor) = cursor.lock().expect(UNPOISONED).as_deref() {
                tell(&format!("webhook-inbox: continue with --after {cursor}"));
            }
            exit(0);
        }
    };
    std::thread::Builder::new().name("signal".to_owned()).spawn(wait).map(|_| ()).map_err(fault)
}

/// How messages are printed.
struct Printer {
    json: bool,
    colour: bool,
    /// How many are still to be printed; None: all.
    left: Option<u64>,
    printed: bool,
}

impl Printer {
    fn new(json: bool, max: Option<u64>) -> Printer {
        let is_terminal = std::io::stdout().is_terminal();
        let colour = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Printer { json: json || !is_terminal, colour, left: max, printed: false }
    }

    /// How many to ask for.
    fn left(&self, most: usize) -> usize {
        self.left.map_or(most, |left| most.min(usize::try_from(left).unwrap_or(most)))
    }

    /// Whether that was all: enough was printed, or stdout is closed.
    fn print(&mut self, arrivals: &[Arrival]) -> Result<bool, Failure> {
        let arrivals = &arrivals[..self.left(arrivals.len())];
        let mut lines = Vec::new();
        for arrival in arrivals {
            lines.extend(if self.json { json_line(arrival) } else { self.line(arrival).into_bytes() });
        }
        self.printed |= !arrivals.is_empty();
        self.left = self.left.map(|left| left - arrivals.len() as u64);
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(&lines).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(true), // as `head` does when it has enough
            Err(error) => Err(Failure::failed(format!("cannot write to stdout: {error}"))),
            Ok(()) => Ok(self.left == Some(0)),
        }
    }

    /// `10:00:03 +919876543210 → +14155550100 Hello`, and the type in brackets unless it is text.
    fn line(&self, arrival: &Arrival) -> String {
        let Arrival { from, to, text, kind, received_at, .. } = arrival;
        let time = received_at.get(11..19).unwrap_or(received_at);
        let kind = if kind == "text" { String::new() } else { format!("[{}]", marked(kind)) };
        let what = [kind, marked(text.as_deref().unwrap_or_default())];
        let what = what.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        let (time, from, to) = (marked(time), marked(from), marked(to));
        let (dim, bold, plain) = if self.colour { ("\x1b[2m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
        format!("{dim}{time}{plain} {bold}{from}{plain} → {to} {what}\n")
    }

    /// The time is over: whether enough was printed in it.
    fn end(&self) -> Result<(), Failure> {
        match self.left {
            Some(left) => {
                Err(Failure::failed(format!("--timeout has passed, and {left} of --max messages have not come")))
            }
            None if !self.printed => Err(Failure::failed("--timeout has passed, and no message has come")),
            None => Ok(()),
        }
    }
}
