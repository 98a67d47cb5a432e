//! Pages of messages, and /stats: one statement each, so that a page and its total are one view.

use crate::query::{Cursor, Selection, Start, history};
use crate::store::postgres::connection::Row;
use crate::store::postgres::pool::{Pool, READ_TIME, SEARCH_TIME};
use crate::store::postgres::value::{escaped, pattern, unescaped};
use crate::store::{Item, Page, ReadError, SenderCount, Stats};
use crate::timestamp::Moment;

/// From here on a page is found by two looks at the index, instead of counting the rows before it. With 1,000,000 messages
/// (2026-11-25): 8 instead of 10 ms at this offset, 65 instead of 155 ms at 500,000, and instead of 570 ms when the rows
/// lie on disk in another order. At offset 100 it would be 8 instead of 0.2 ms.
const FAR_OFFSET: i64 = 10_000;

/// A page of messages and how many match on all pages.
pub(super) fn page(pool: &Pool, selection: &Selection) -> Result<Page, ReadError> {
    let Selection { from, since, needle, start, limit } = selection;
    let (offset, after) = match start {
        Start::Offset(offset) => (i64::try_from(*offset).unwrap_or(i64::MAX), None),
        Start::After(cursor) => (0, Some(cursor)),
    };
    let since_or_first = since.unwrap_or(Moment::UNKNOWN);
    // A cursor from before `since` says nothing.
    let after = after.filter(|cursor| cursor.moment >= since_or_first);
    let begin = after.map_or(since_or_first, |cursor| cursor.moment);
    let after_id = after.map(|cursor| escaped(&cursor.id));
    let from = from.as_deref().map(escaped);
    let pattern = needle.as_ref().map(pattern);
    let (since_us, since_ns) = (since.map(|since| since.us), since.map(|since| since.ns as i16)); // 0 to 999
    let wanted = *limit as i64 + 1; // one more, so that it is known whether another page follows
    let time = if needle.is_some() || since.is_some() || offset > 0 { SEARCH_TIME } else { READ_TIME };
    let rows = if offset >= FAR_OFFSET && needle.is_none() {
        let sql = include_str!("../../../sql/postgres/page_far.sql");
        pool.query(sql, &[&from, &since_us, &since_ns, &offset, &wanted], time)?
    } else {
        let sql = include_str!("../../../sql/postgres/page.sql");
        let begin_ns = begin.ns as i16;
        pool.query(
            sql,
            &[&from, &since_us, &since_ns, &pattern, &begin.us, &begin_ns, &after_id, &offset, &wanted],
            time,
        )?
    };
    let total = rows.first().map_or(0, |row| row.get::<_, i64>(0)).unsigned_abs(); // a count is never negative
    // An empty page is a row with the total alone.
    let mut rows = rows.iter().filter(|row| row.get::<_, Option<&str>>(1).is_some());
    let items: Vec<(Item, Moment)> = rows.by_ref().take(*limit).map(item).collect();
    let last = items.last().filter(|_| rows.next().is_some());
    let next = last.map(|(item, moment)| Cursor { moment: *moment, id: item.message_id.clone() });
    Ok(Page { items: items.into_iter().map(|(item, _)| item).collect(), total, next })
}

fn item(row: &Row) -> (Item, Moment) {
    let text = |column| unescaped(row.get(column));
    let item = Item {
        message_id: text(1),
        from: text(2),
        to: text(3),
        ts: text(4),
        text: row.get::<_, Option<String>>(5).map(unescaped),
    };
    (item, Moment { us: row.get(6), ns: row.get::<_, i16>(7).into() })
}

/// What /stats says.
pub(super) fn stats(pool: &Pool) -> Result<Stats, ReadError> {
    let rows = pool.query(include_str!("../../../sql/postgres/stats.sql"), &[&Moment::UNKNOWN.us], SEARCH_TIME)?;
    let count = |row: &Row, column| row.get::<_, i64>(column).unsigned_abs(); // never negative
    let first = rows.first();
    let ts = |column| first.and_then(|row| row.get::<_, Option<String>>(column)).map(unescaped);
    let sender = |row| {
        let from: Option<String> = Row::get(row, 4);
        Some(SenderCount { from: unescaped(from?), count: count(row, 5) })
    };
    Ok(Stats {
        total_messages: first.map_or(0, |row| count(row, 0)),
        senders_count: first.map_or(0, |row| count(row, 1)) as usize,
        messages_per_sender: rows.iter().filter_map(sender).collect(),
        first_message_ts: ts(2),
        last_message_ts: ts(3),
    })
}

/// The messages in each bucket, by their `ts`.
pub(super) fn history(pool: &Pool, selection: history::Selection) -> Result<Vec<u64>, ReadError> {
    let range = selection.range_us();
    let width_us = (range.end - range.start) / selection.count.max(1) as i64; // each is as long as the others
    let sql = include_str!("../../../sql/postgres/history.sql");
    let rows = pool.query(sql, &[&range.start, &range.end, &width_us], SEARCH_TIME)?;
    let mut counts = vec![0; selection.count];
    for row in &rows {
        let index = usize::try_from(row.get::<_, i64>(0)).ok();
        if let Some(count) = index.and_then(|index| counts.get_mut(index)) {
            *count = row.get::<_, i64>(1).unsigned_abs(); // never negative
        }
    }
    Ok(counts)
}
