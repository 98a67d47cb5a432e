//! How far a command is, on stderr: a line that is written over on a terminal, and plain lines now and then otherwise.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two states of the line on a terminal.
const TERMINAL_PERIOD: Duration = Duration::from_millis(100);

/// Between two plain lines, as a log takes them.
const PLAIN_PERIOD: Duration = Duration::from_secs(5);

/// Characters of the bar.
const BAR_WIDTH: usize = 24;

/// The progress of one piece of work.
pub(super) struct Progress {
    /// What is counted, in the plural.
    unit: &'static str,
    begun: Instant,
    shown: Instant,
    terminal: bool,
    line_open: bool,
}

impl Progress {
    pub(super) fn new(unit: &'static str) -> Progress {
        let now = Instant::now();
        Progress { unit, begun: now, shown: now, terminal: std::io::stderr().is_terminal(), line_open: false }
    }

    /// Shows the state, unless the last one is too recent. `part` is how much of all is done, from 0 to 1, where that is
    /// known.
    pub(super) fn show(&mut self, count: u64, part: Option<f64>) {
        let period = if self.terminal { TERMINAL_PERIOD } else { PLAIN_PERIOD };
        if self.shown.elapsed() < period {
            return;
        }
        self.shown = Instant::now();
        let state = state(count, self.unit, part, self.begun.elapsed());
        if self.terminal {
            let bar = part.map(bar).unwrap_or_default();
            self.write(&format!("\r{bar}{state}\x1b[K")); // clears what is left of a longer line
            self.line_open = true;
        } else {
            self.write(&format!("{state}\n"));
        }
    }

    /// A line that stays.
    pub(super) fn say(&mut self, line: impl Display) {
        self.clear();
        self.write(&format!("{line}\n"));
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.line_open) {
            self.write("\r\x1b[K");
        }
    }

    fn write(&self, text: &str) {
        // If stderr is closed, progress is not wanted; the work continues.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn state(count: u64, unit: &str, part: Option<f64>, elapsed: Duration) -> String {
    let rate = count as f64 / elapsed.as_secs_f64().max(0.001);
    let mut state = format!("{count} {unit}, {rate:.0}/s");
    if let Some(part) = part.filter(|part| *part > 0.0) {
        let part = part.min(1.0);
        let rest = (elapsed.as_secs_f64() * (1.0 - part) / part).round() as u64;
        state = format!("{:.0} %, {state}, {}:{:02} left", part * 100.0, rest / 60, rest % 60);
    }
    state
}

fn bar(part: f64) -> String {
    let full = (part.clamp(0.0, 1.0) * BAR_WIDTH as f64) as usize;
    format!("[{}{}] ", "#".repeat(full), "-".repeat(BAR_WIDTH - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_has_rate_and_rest() {
        let state = |count, part, seconds| state(count, "lines", part, Duration::from_secs(seconds));
        assert_eq!(state(1000, Some(0.25), 10), "25 %, 1000 lines, 100/s, 0:30 left");
        assert_eq!(state(1000, Some(0.01), 10), "1 %, 1000 lines, 100/s, 16:30 left");
        assert_eq!(state(1000, Some(1.0), 10), "100 %, 1000 lines, 100/s, 0:00 left");
        assert_eq!(state(1000, None, 10), "1000 lines, 100/s");
        assert_eq!(state(0, Some(0.0), 0), "0 lines, 0/s");
    }

    #[test]
    fn the_bar_has_its_width_whatever_the_part() {
        for part in [0.0, 0.01, 0.5, 0.999, 1.0, 1.5, -1.0] {
            assert_eq!(bar(part).len(), BAR_WIDTH + 3, "{part}");
        }
        assert_eq!(bar(0.5), "[############------------] ");
    }
}
