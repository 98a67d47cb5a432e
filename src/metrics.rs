//! Counters, gauges and histograms, and their Prometheus text form (exposition format 0.0.4).
//!
//! Each is a static of the module that counts it, declared once with its name, help and type: a process has one page, so
//! nothing is passed around. Everything is an atomic: counting never waits, and a scrape stops no thread. Labels come from
//! closed sets, so that no client can make the page grow.

use crate::closed_set::ClosedSet;
use std::fmt::{Display, Write};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Declares the metrics of a module, and `METRICS`, the list of them in the order of the page.
macro_rules! metrics {
    ($($(#[$of_metric:meta])* $visibility:vis static $NAME:ident: $Metric:ty = $metric:expr;)+) => {
        $($(#[$of_metric])* $visibility static $NAME: $Metric = $metric;)+

        /// All that this module counts, in the order of the page.
        pub static METRICS: $crate::metrics::Metrics = &[$(&$NAME),+];
    };
}

pub(crate) use metrics;

/// What a module counts, in the order of the page.
pub type Metrics = &'static [&'static dyn Metric];

/// Something that stands on the page.
pub trait Metric: Sync {
    /// Appends its help, its type and its samples.
    fn render(&self, page: &mut Page);
}

/// A count of events since the start.
pub struct Counter {
    name: &'static str,
    help: &'static str,
    count: AtomicU64,
}

impl Counter {
    /// At zero.
    pub const fn new(name: &'static str, help: &'static str) -> Counter {
        Counter { name, help, count: AtomicU64::new(0) }
    }

    /// Counts one event.
    pub fn count(&self) {
        self.count.fetch_add(1, Relaxed);
    }
}

impl Metric for Counter {
    fn render(&self, page: &mut Page) {
        page.single(self.name, self.help, "counter", self.count.load(Relaxed));
    }
}

/// A counter for each value of a closed set, which has `N` of them: `N` is `L::ALL.len()`.
pub struct Counters<L, const N: usize> {
    name: &'static str,
    help: &'static str,
    label: &'static str,
    counts: [AtomicU64; N],
    of: PhantomData<L>,
}

impl<L: ClosedSet, const N: usize> Counters<L, N> {
    /// All at zero. `label` is the name of the label whose values are those of the set.
    pub const fn new(name: &'static str, help: &'static str, label: &'static str) -> Counters<L, N> {
        Counters { name, help, label, counts: [const { AtomicU64::new(0) }; N], of: PhantomData }
    }

    /// Counts one event.
    pub fn count(&self, value: L) {
        self.counts[value.index()].fetch_add(1, Relaxed);
    }
}

impl<L: ClosedSet + Sync, const N: usize> Metric for Counters<L, N> {
    fn render(&self, page: &mut Page) {
        page.head(self.name, self.help, "counter");
        for (value, count) in L::WORDS.iter().zip(&self.counts) {
            page.sample(self.name, &[(self.label, value)], count.load(Relaxed));
        }
    }
}

/// A counter for each pair of values of two closed sets. One that has counted nothing is not on the page, since most pairs
/// never occur. `ROWS` is `R::ALL.len()`, and `COLUMNS` that of `C`.
pub struct CounterTable<R, C, const ROWS: usize, const COLUMNS: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; 2],
    counts: [[AtomicU64; COLUMNS]; ROWS],
    of: PhantomData<(R, C)>,
}

impl<R: ClosedSet, C: ClosedSet, const ROWS: usize, const COLUMNS: usize> CounterTable<R, C, ROWS, COLUMNS> {
    /// All at zero. `labels` are the names of the labels whose values are those of the sets.
    pub const fn new(name: &'static str, help: &'static str, labels: [&'static str; 2]) -> Self {
        let counts = [const { [const { AtomicU64::new(0) }; COLUMNS] }; ROWS];
        CounterTable { name, help, labels, counts, of: PhantomData }
    }

    /// Counts one event.
    pub fn count(&self, row: R, column: C) {
        self.counts[row.index()][column.index()].fetch_add(1, Relaxed);
    }

    /// What has been counted in a row: the value of the second label, and how often, also where that is 0.
    pub fn row(&self, row: R) -> impl Iterator<Item = (&'static str, u64)> {
        C::WORDS.iter().copied().zip(self.counts[row.index()].iter().map(|count| count.load(Relaxed)))
    }
}

impl<R, C, const ROWS: usize, const COLUMNS: usize> Metric for CounterTable<R, C, ROWS, COLUMNS>
where
    R: ClosedSet + Sync,
    C: ClosedSet + Sync,
{
    fn render(&self, page: &mut Page) {
        page.head(self.name, self.help, "counter");
        for (row, counts) in R::WORDS.iter().zip(&self.counts) {
            for (column, count) in C::WORDS.iter().zip(counts) {
                let count = count.load(Relaxed);
                if count > 0 {
                    page.sample(self.name, &[(self.labels[0], row), (self.labels[1], column)], count);
                }
            }
        }
    }
}

/// A number that rises and falls.
pub struct Gauge {
    name: &'static str,
    help: &'static str,
    value: AtomicU64,
}

impl Gauge {
    /// At zero.
    pub const fn new(name: &'static str, help: &'static str) -> Gauge {
        Gauge { name, help, value: AtomicU64::new(0) }
    }

    /// Replaces the number.
    pub fn set(&self, value: usize) {
        self.value.store(value as u64, Relaxed);
    }

    /// Adds one.
    pub fn rise(&self) {
        self.value.fetch_add(1, Relaxed);
    }

    /// Takes one away that was added before.
    pub fn fall(&self) {
        self.value.fetch_sub(1, Relaxed);
    }
}

impl Metric for Gauge {
    fn render(&self, page: &mut Page) {
        page.single(self.name, self.help, "gauge", self.value.load(Relaxed));
    }
}

/// A cumulative histogram with fixed upper bounds.
pub struct Histogram<const N: usize> {
    name: &'static str,
    help: &'static str,
    bounds: [f64; N],
    /// Observations per bucket, not cumulative; the last is beyond every bound.
    buckets: [AtomicU64; N],
    beyond: AtomicU64,
    /// The sum of all observations in millionths, so that an integer atomic can hold it.
    sum_millionths: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    /// Empty.
    pub const fn new(name: &'static str, help: &'static str, bounds: [f64; N]) -> Histogram<N> {
        let buckets = [const { AtomicU64::new(0) }; N];
        Histogram { name, help, bounds, buckets, beyond: AtomicU64::new(0), sum_millionths: AtomicU64::new(0) }
    }

    /// Counts one value, which is not negative.
    pub fn observe(&self, value: f64) {
        let bucket = self.bounds.iter().position(|&bound| value <= bound);
        bucket.map_or(&self.beyond, |index| &self.buckets[index]).fetch_add(1, Relaxed);
        self.sum_millionths.fetch_add((value * 1e6).round() as u64, Relaxed);
    }
}

impl<const N: usize> Metric for Histogram<N> {
    fn render(&self, page: &mut Page) {
        let name = self.name;
        page.head(name, self.help, "histogram");
        let mut count = 0;
        for (bound, bucket) in self.bounds.iter().zip(&self.buckets) {
            count += bucket.load(Relaxed);
            page.sample(&format!("{name}_bucket"), &[("le", &bound.to_string())], count);
        }
        count += self.beyond.load(Relaxed);
        page.sample(&format!("{name}_bucket"), &[("le", "+Inf")], count);
        page.sample(&format!("{name}_sum"), &[], self.sum_millionths.load(Relaxed) as f64 / 1e6);
        page.sample(&format!("{name}_count"), &[], count);
    }
}

/// The page that Prometheus scrapes, while it is rendered.
#[derive(Default)]
pub struct Page(String);

impl Page {
    /// Appends the metrics of a module.
    pub fn metrics(&mut self, metrics: Metrics) {
        metrics.iter().for_each(|metric| metric.render(self));
    }

    /// Appends a metric of one sample without labels.
    pub fn single(&mut self, name: &str, help: &str, kind: &str, value: impl Display) {
        self.head(name, help, kind);
        self.sample(name, &[], value);
    }

    /// Appends the help and the type of a metric.
    pub fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}"); // a String takes every write
    }

    /// Appends a sample of the metric whose head came last.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}"); // a String takes every write
    }

    /// The whole page.
    pub fn into_text(self) -> String {
        self.0
    }
}

/// A label value as the format wants it: backslash, double quote and line feed escaped.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::new("h", "Help.", [1., 2.5]);
        for value in [0.0, 1.0, 1.000001, 2.5, 2.6, 1e6] {
            histogram.observe(value);
        }
        let mut page = Page::default();
        histogram.render(&mut page);
        assert_eq!(
            page.into_text(),
            "# HELP h Help.\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"2.5\"} 4\n\
             h_bucket{le=\"+Inf\"} 6\nh_sum 1000007.100001\nh_count 6\n"
        );
    }

    /// Reads a label value back as a scraper does.
    fn unescaped(text: &str) -> Option<String> {
        let mut characters = text.chars();
        let mut value = String::new();
        while let Some(character) = characters.next() {
            value.push(match character {
                '\\' => match characters.next()? {
                    '\\' => '\\',
                    '"' => '"',
                    'n' => '\n',
                    _ => return None,
                },
                '"' | '\n' => return None,
                other => other,
            });
        }
        Some(value)
    }

    #[test]
    fn any_label_value_survives_the_escaping_and_stays_on_its_line() {
        fastrand::seed(4);
        for _ in 0..20_000 {
            let value: String =
                (0..fastrand::usize(0..8)).map(|_| fastrand::choice(['\\', '"', '\n', 'n', 'é']).unwrap()).collect();
            assert_eq!(unescaped(&escaped(&value)), Some(value));
        }
    }
}
