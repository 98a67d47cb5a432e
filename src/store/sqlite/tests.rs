//! The tally beside SQL, over random histories in which another process writes too.

use super::*;
use crate::delivery::{Delivery, Raw, Source, StatusUpdate};
use crate::message::{Details, Message, MessageId, Msisdn, Party, Text};
use crate::query::{Cursor, Needle, Start};
use crate::store::sqlite::database::Look;
use crate::store::{Location, Retention, Stored};
use crate::timestamp::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, StatementStatus, ToSql};

/// A store in a directory of its own, and another connection to its file.
struct Two {
    store: Sqlite,
    other: Connection,
    directory: PathBuf,
}

impl Two {
    fn open() -> Two {
        let directory = std::env::temp_dir().join(format!("webhook-inbox-test-{:016x}", fastrand::u64(..)));
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join("inbox.db");
        let options = Options {
            database: Location::Sqlite(path.clone()),
            retention: Retention::default(),
            searches_max: 1,
            search_index: false,
        };
        let store = Sqlite::open(&path, &options, &(Arc::new(|_: &str| {}) as Report)).unwrap();
        Two { store, other: Connection::open(path).unwrap(), directory }
    }

    fn commit(&self, messages: Vec<Message>) -> Outcome {
        let mut delivery = Some(Delivery { messages, ..Delivery::empty(Source::Native) });
        self.store.commit(|deliveries| deliveries.extend(delivery.take()))?.remove(0)
    }

    fn count(&self, condition: &str) -> u64 {
        let sql = format!("SELECT COUNT(*) FROM messages WHERE {condition}");
        self.other.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap() as u64
    }

    fn total(&self, from: Option<&str>, since: Option<&str>) -> u64 {
        let since = since.map(|since| Timestamp::parse(since).unwrap().moment());
        let from = from.map(str::to_owned);
        let start = Start::Offset(0);
        self.store.page(&Selection { from, since, needle: None, start, limit: 1 }).unwrap().total
    }
}

impl Drop for Two {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory); // what is left over is in the directory for such things
    }
}

fn message(id: u32, sender: u32, ts: &str) -> Message {
    Message {
        id: MessageId::parse(format!("m{id}")).unwrap(),
        from: Msisdn::parse(format!("+{sender}")).unwrap().into(),
        to: Msisdn::parse("+1".to_owned()).unwrap().into(),
        ts: Timestamp::parse(ts).unwrap(),
        text: None,
        details: None,
    }
}

/// Within two days, on whole seconds, so that text order is time order and SQL can say what is right.
fn random_ts() -> String {
    let (day, hour) = (fastrand::u8(14..16), fastrand::u8(0..24));
    format!("2025-01-{day}T{hour:02}:{:02}:{:02}Z", fastrand::u8(0..60), fastrand::u8(0..60))
}

fn agree(two: &Two) {
    let since = random_ts();
    let sender = format!("+{}", fastrand::u32(1..8));
    let by_sender = format!("from_msisdn = '{sender}'");
    let by_since = format!("ts >= '{since}'");
    assert_eq!(two.total(None, None), two.count("1"));
    assert_eq!(two.total(Some(&sender), None), two.count(&by_sender), "{sender}");
    assert_eq!(two.total(None, Some(&since)), two.count(&by_since), "{since}");
    assert_eq!(two.total(Some(&sender), Some(&since)), two.count(&format!("{by_sender} AND {by_since}")));

    let stats = two.store.stats().unwrap();
    let sql = "SELECT from_msisdn, COUNT(*) AS n FROM messages GROUP BY 1 ORDER BY n DESC, from_msisdn LIMIT 10";
    let mut statement = two.other.prepare(sql).unwrap();
    let expected =
        statement.query_map([], |row| Ok(SenderCount { from: row.get(0)?, count: row.get::<_, i64>(1)? as u64 }));
    assert_eq!(stats.messages_per_sender, expected.unwrap().collect::<rusqlite::Result<Vec<_>>>().unwrap());
    let whole = "SELECT COUNT(DISTINCT from_msisdn), MIN(ts), MAX(ts) FROM messages";
    let (senders, first, last): (i64, _, _) =
        two.other.query_row(whole, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    assert_eq!((stats.senders_count as i64, stats.first_message_ts, stats.last_message_ts), (senders, first, last));
    assert_eq!(stats.total_messages, two.count("1"));
}

/// The hours and minutes around the two days, with edges that other clocks have.
fn histories_agree(two: &Two) {
    let bucket = fastrand::choice(["minute", "hour", "day"]).unwrap();
    let offset = fastrand::choice(["+00:00", "+05:30", "-03:17", "+14:00"]).unwrap();
    let count = fastrand::usize(1..745);
    let query = format!("bucket={bucket}&count={count}&offset={offset}");
    let now_s = 1_736_812_800 + fastrand::i64(0..3 * 86_400); // from the 14th to the 16th
    let selection = query::history::parse(&query, now_s).unwrap();
    let counts = two.store.history(selection).unwrap();
    let starts: Vec<i64> = selection.starts_s().map(|start_s| start_s * 1_000_000).collect();
    assert_eq!(counts.len(), count);
    let ends = starts.iter().skip(1).copied().chain([selection.range_us().end]);
    let sql = "SELECT COUNT(*) FROM messages WHERE ts_us >= ?1 AND ts_us < ?2";
    let mut statement = two.other.prepare(sql).unwrap();
    for ((start, end), count) in starts.iter().zip(ends).zip(counts) {
        let right: i64 = statement.query_row((start, end), |row| row.get(0)).unwrap();
        assert_eq!(count as i64, right, "{query}, now {now_s}, from {start}");
    }
}

#[test]
fn a_history_is_that_of_sql_however_wide_the_stretches_of_the_tally_are() {
    fastrand::seed(19);
    let two = Two::open();
    let mut id = 0;
    for messages in [0, 1, 30, 100, 300, 600] {
        // Half of them in one minute, so that stretches differ.
        let ts =
            |_| if fastrand::bool() { random_ts() } else { format!("2025-01-15T10:00:{:02}.5Z", fastrand::u8(0..60)) };
        let batch: Vec<Message> = (0..messages)
            .map(ts)
            .map(|ts| {
                message(
                    {
                        id += 1;
                        id
                    },
                    1,
                    &ts,
                )
            })
            .collect();
        two.commit(batch).unwrap();
        (0..15).for_each(|_| histories_agree(&two));
    }
    two.other.execute("DELETE FROM messages WHERE seq % 3 = 0", []).unwrap();
    (0..15).for_each(|_| histories_agree(&two));
}

/// What another program does to the file in one go.
fn foreign_change(two: &mut Two) {
    let (seq, id, ts) = (fastrand::u32(1..60), fastrand::u32(0..80), random_ts());
    let or = fastrand::choice(["OR ABORT", "OR REPLACE", "OR IGNORE"]).unwrap();
    two.other.pragma_update(None, "recursive_triggers", fastrand::bool()).unwrap();
    let change = match fastrand::u8(0..12) {
        0 => format!("DELETE FROM messages WHERE from_msisdn = '+{}'", fastrand::u32(1..20)),
        1 => "DELETE FROM messages WHERE seq = (SELECT MAX(seq) FROM messages)".to_owned(),
        2 => format!("UPDATE messages SET ts = '{ts}' WHERE seq % 7 = 3"),
        3 => format!("UPDATE messages SET from_msisdn = '+{}', text = 'x' WHERE seq % 11 = 2", fastrand::u32(1..9)),
        4 => format!("UPDATE {or} messages SET message_id = 'o{id}' WHERE seq = {seq}"),
        5 => format!("UPDATE {or} messages SET seq = {} WHERE seq = {seq}", fastrand::u32(1..90)),
        6 => format!(
            "INSERT {or} INTO messages (message_id, from_msisdn, to_msisdn, ts, created_at)
             SELECT 'o' || ({id} + i), '+3', '+1', '{ts}', '' FROM (SELECT 0 AS i UNION SELECT 1 UNION SELECT 2)"
        ),
        7 => format!(
            "INSERT {or} INTO messages (seq, message_id, from_msisdn, to_msisdn, ts, created_at)
             VALUES ({seq}, 'o{id}', '+{}', '+1', '{ts}', '')",
            fastrand::u32(1..9)
        ),
        8 => format!(
            "INSERT INTO messages (message_id, from_msisdn, to_msisdn, ts, created_at) VALUES ('o{id}', '+6', '+1', '{ts}', '')
             ON CONFLICT (message_id) DO UPDATE SET from_msisdn = excluded.from_msisdn, ts = excluded.ts"
        ),
        9 => "CREATE TABLE IF NOT EXISTS of_another_program (x)".to_owned(),
        10 => "VACUUM".to_owned(),
        _ => {
            // As `import` does it: a connection that appends without triggers.
            schema::append_silently(&two.other).unwrap();
            let append = "INSERT INTO messages
                          SELECT seq_given + 1, 'a' || seq_given, '+4', '+1', ts, NULL, '', ts_us, ts_ns
                          FROM messages, (SELECT MAX(high, (SELECT MAX(seq) FROM messages)) AS seq_given FROM arrival)
                          ORDER BY random() LIMIT 1";
            two.other.execute(append, []).unwrap();
            two.other.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true).unwrap();
            return;
        }
    };
    match two.other.execute(&change, []) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.sqlite_error_code(), Some(ErrorCode::ConstraintViolation), "{change}: {error}"),
    }
}

#[test]
fn totals_and_stats_are_those_of_sql_when_others_write() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    fastrand::seed(seed);
    for _ in 0..12 {
        let mut two = Two::open();
        let backup = two.directory.join("backup.db");
        for _ in 0..120 {
            match fastrand::u8(0..24) {
                0 => two.other.backup("main", &backup, None::<fn(_)>).unwrap(),
                1 if backup.exists() => {
                    keeper::keep(&two.store.turns).unwrap(); // a backup is at least a second old
                    two.other.restore("main", &backup, None::<fn(_)>).unwrap();
                }
                2..10 => foreign_change(&mut two),
                10..13 => keeper::keep(&two.store.turns).unwrap(),
                _ => {
                    let random = |_| message(fastrand::u32(0..2_000), fastrand::u32(1..20), &random_ts());
                    let messages: Vec<Message> = (0..fastrand::usize(1..20)).map(random).collect();
                    let sent = messages.len();
                    assert_eq!(two.commit(messages).unwrap().len(), sent);
                }
            }
            // Not after each, so that several changes come together.
            if fastrand::u8(0..3) > 0 {
                agree(&two);
            }
        }
        agree(&two);
    }
}

#[test]
fn what_other_programs_change_is_followed_in_steps_and_what_happens_between_them_is_not_missed() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    fastrand::seed(seed);
    let two = Two::open();
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000)
                INSERT INTO messages (message_id, from_msisdn, to_msisdn, ts, created_at)
                SELECT 'n' || i, '+' || (i * i % 11), '+1', printf('2025-01-15T%02d:00:00Z', i % 24), '' FROM n";
    two.other.execute(many, []).unwrap();
    let mut steps_max = 0;
    for id in 0..20 {
        let delete = |i: usize| two.other.execute("DELETE FROM messages WHERE message_id = ?1", [format!("n{i}")]);
        let hour = fastrand::u8(0..24);
        let change = format!("UPDATE messages SET ts = '2025-01-14T{hour:02}:00:00Z' WHERE seq % 2 = {}", id % 2);
        two.other.execute(&change, []).unwrap();
        let mut steps = 1;
        while matches!(two.store.turns.take(Side::Read).view(|_| Ok(())).unwrap(), Look::NotYet) {
            steps += 1;
            match fastrand::u8(0..8) {
                0 => drop(delete(fastrand::usize(0..9000)).unwrap()),
                1 => drop(two.other.execute("DELETE FROM messages WHERE seq = (SELECT MAX(seq) FROM messages)", [])),
                2 => while two.store.turns.take(Side::Read).empty_journal().unwrap() {},
                _ => {
                    let random = |index| message(id * 100 + steps * 10 + index, fastrand::u32(1..20), &random_ts());
                    two.commit((0..fastrand::u32(1..5)).map(random).collect()).unwrap();
                }
            }
        }
        steps_max = steps_max.max(steps);
        agree(&two);
    }
    assert!(steps_max >= 3, "the table is too small for this test: at most {steps_max} steps");
}

#[test]
fn a_sender_that_becomes_frequent_is_counted_by_the_hour_from_then_on() {
    fastrand::seed(4096);
    let two = Two::open();
    let mut id = 0;
    for _ in 0..72 {
        // Groups that end on both sides of the 4,096th message, and others' messages between them.
        let messages = (0..61).map(|index| {
            id += 1;
            message(id, if index == 60 { 7 } else { 2 }, &random_ts())
        });
        two.commit(messages.collect()).unwrap();
        let since = random_ts();
        let counted = two.count(&format!("from_msisdn = '+2' AND ts >= '{since}'"));
        assert_eq!(two.total(Some("+2"), Some(&since)), counted, "after {id}");
    }
    assert!(two.count("from_msisdn = '+2'") > 4096);
}

#[test]
fn a_sender_that_becomes_frequent_amid_what_another_process_has_appended_is_counted_once() {
    let two = Two::open();
    two.commit(vec![message(1, 2, "2025-01-15T10:00:00Z")]).unwrap();
    agree(&two);
    schema::append_silently(&two.other).unwrap(); // as `import` does it
    let append = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000)
                  INSERT INTO messages SELECT NULL, 'n' || i, '+2', '+1', ts, NULL, '', ts_us, ts_ns FROM n, messages";
    two.other.execute(append, []).unwrap();
    assert_eq!(two.total(Some("+2"), Some("2025-01-15T09:00:00Z")), 9001);
}

#[test]
fn the_messages_of_one_request_are_stored_all_or_none() {
    let two = Two::open();
    let outcome = two.commit(vec![message(1, 1, "2025-01-15T10:00:00Z"), message(1, 1, "2025-01-15T10:00:00Z")]);
    assert_eq!(outcome, Ok(vec![Stored::Created, Stored::Duplicate]));
    // A constraint that the second message of the next request breaks.
    two.other.execute_batch("CREATE UNIQUE INDEX one ON messages (ts) WHERE message_id IN ('m2', 'm3')").unwrap();
    let outcome = two.commit(vec![message(2, 1, "2025-01-15T10:00:00Z"), message(3, 1, "2025-01-15T10:00:00Z")]);
    assert!(outcome.is_err());
    assert_eq!(two.count("1"), 1);
    assert!(two.commit(vec![message(4, 1, "2025-01-15T10:00:00Z")]).is_ok(), "the next group starts clean");
    agree(&two);
}

#[test]
fn a_group_of_refusals_does_not_hide_that_the_last_write_failed() {
    let two = Two::open();
    two.other.execute_batch("CREATE UNIQUE INDEX one ON messages (to_msisdn)").unwrap();
    two.commit(vec![message(1, 1, "2025-01-15T10:00:00Z")]).unwrap();
    two.commit(vec![message(2, 1, "2025-01-15T10:00:00Z")]).unwrap_err();
    assert_eq!(two.commit(Vec::new()), Ok(Vec::new()));
    assert!(two.store.write_failed());
}

#[test]
fn the_instant_that_the_schema_gives_a_row_is_that_of_the_program() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    fastrand::seed(seed);
    let two = Two::open();
    let insert =
        "INSERT INTO messages (message_id, from_msisdn, to_msisdn, ts, created_at) VALUES (?1, '+1', '+2', ?2, '')";
    let right = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.5Z"];
    let wrong = [
        "",
        "Z",
        "yesterday",
        "2025-02-30T10:00:00Z",
        "2025-01-15T24:00:00Z",
        "2025-01-15T10:00:60Z",
        "0000-01-15T10:00:00Z",
        "2025-01-15T10:00:00.Z",
        "2025-01-15T10:00:00ZZ",
        "2025-01-15T10:00:00.5\u{0}Z",
    ];
    for index in 0..4_000 {
        let ts = match right.iter().chain(&wrong).nth(index) {
            Some(ts) => (*ts).to_owned(),
            None => {
                let two = |max: u32| format!("{:02}", fastrand::u32(0..=max));
                let mut ts = format!(
                    "{:04}-{}-{}T{}:{}:{}",
                    fastrand::u32(0..=9999),
                    two(13),
                    two(32),
                    two(24),
                    two(60),
                    two(60)
                );
                if fastrand::bool() {
                    let digits = (0..fastrand::usize(0..=10)).map(|_| fastrand::digit(10));
                    ts.extend(std::iter::once('.').chain(digits));
                }
                ts.push('Z');
                if fastrand::u8(0..4) == 0 {
                    let at = fastrand::usize(0..ts.len());
                    ts.replace_range(at..=at, fastrand::choice(["", " ", "Z", ".", "5", "é", "-", "t"]).unwrap());
                }
                ts
            }
        };
        let first = fastrand::bool();
        let written = if first { ts.as_str() } else { "2025-01-15T10:00:00.123456789Z" };
        two.other.execute(insert, (index.to_string(), written)).unwrap();
        if !first {
            two.other.execute("UPDATE messages SET ts = ?2 WHERE message_id = ?1", (index.to_string(), &ts)).unwrap();
        }
        let sql = "SELECT ts_us, ts_ns FROM messages WHERE message_id = ?1";
        let of_schema = two.other.query_row(sql, [index.to_string()], |row| row::moment(row, 0)).unwrap();
        let of_program = Timestamp::parse(&ts).map_or(Moment::UNKNOWN, |ts| ts.moment());
        assert_eq!(of_schema, of_program, "{ts:?}, inserted: {first}");
    }
}

#[test]
fn a_seq_is_never_given_twice_not_after_a_deletion_nor_a_vacuum() {
    let two = Two::open();
    let seqs = || -> Vec<i64> {
        let mut statement = two.other.prepare("SELECT seq FROM messages ORDER BY seq").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
    };
    let foreign = |id: &str| {
        let insert = format!(
            "INSERT INTO messages (message_id, from_msisdn, to_msisdn, ts, created_at)
                              VALUES ('{id}', '+1', '+2', '2025-01-15T10:00:00Z', '')"
        );
        two.other.execute(&insert, []).unwrap();
    };
    let ts = "2025-01-15T10:00:00Z";
    two.commit(vec![message(1, 1, ts), message(1, 1, ts), message(2, 1, ts), message(3, 1, ts)]).unwrap();
    assert_eq!(seqs(), [1, 2, 3], "a duplicate takes no number");
    two.other.execute_batch("DELETE FROM messages WHERE seq >= 2; VACUUM").unwrap();
    two.commit(vec![message(4, 1, ts)]).unwrap();
    assert_eq!(seqs(), [1, 4]);
    two.other.execute_batch("DELETE FROM messages; VACUUM").unwrap();
    foreign("a");
    assert_eq!(seqs(), [5], "another program's row");
    two.other.execute_batch("DELETE FROM messages").unwrap();
    foreign("b");
    two.commit(vec![message(5, 1, ts)]).unwrap();
    assert_eq!(seqs(), [6, 7]);
    agree(&two);
}

#[test]
fn arrivals_are_found_once_in_their_order_however_little_is_looked_at_in_one_call() {
    use crate::query::arrivals::{Filter, Selection};
    use crate::query::order::Place;
    fastrand::seed(41);
    let two = Two::open();
    let sender_of = |id: u32| if id < 3_000 { id % 7 } else { 7 }; // the last one has too many to be looked up one by one
    two.commit((0..12_000).map(|id| message(id, sender_of(id), &random_ts())).collect()).unwrap();
    two.other.execute("DELETE FROM messages WHERE seq % 3 = 0 OR seq BETWEEN 500 AND 900", []).unwrap();
    let page = |place, limit, from: &str| {
        let filter = Filter { from: Some(from.to_owned()), ..Filter::default() };
        arrivals::page(&two.store.turns, &Selection { place, limit, filter }, Duration::ZERO).unwrap()
    };
    for sender in 0..8 {
        let from = format!("+{sender}");
        let kept = |seq: &i64| seq % 3 != 0 && !(500..=900).contains(seq);
        let right: Vec<i64> = (1..=12_000).filter(kept).filter(|seq| sender_of(*seq as u32 - 1) == sender).collect();
        let (mut found, mut place) = (Vec::new(), Place::After(0));
        loop {
            let page = page(place, fastrand::usize(1..=100), &from);
            found.extend(page.items.iter().map(|arrival| arrival.seq));
            place = Place::After(page.next);
            if !page.more {
                break;
            }
        }
        assert_eq!((&found, place), (&right, Place::After(12_000)), "{from}");
        let (mut found, mut place) = (Vec::new(), Some(Place::Newest));
        while let Some(at) = place {
            let page = page(at, fastrand::usize(1..=100), &from);
            found.splice(0..0, page.items.iter().map(|arrival| arrival.seq));
            place = page.before.map(Place::Before);
        }
        assert_eq!(found, right, "{from}");
    }
}

#[test]
fn a_follower_with_a_filter_misses_nothing_when_others_write() {
    use crate::query::arrivals::{Filter, Selection};
    use crate::query::order::Place;
    use crate::store::order::LOOK_TIME;
    fastrand::seed(42);
    let two = Two::open();
    let page = |after, limit, filter: &Filter| {
        let selection = Selection { place: Place::After(after), limit, filter: filter.clone() };
        arrivals::page(&two.store.turns, &selection, LOOK_TIME).unwrap()
    };
    let since = Timestamp::parse("2025-01-15T12:00:00Z").unwrap().moment();
    let of = |sender: u32| Some(format!("+{sender}"));
    let filters = [
        Filter { from: of(1), ..Filter::default() },
        Filter { from: of(2), since: Some(since), ..Filter::default() },
        Filter { needle: Needle::new("other"), ..Filter::default() },
        Filter { kind: Some("text".to_owned()), from: of(3), ..Filter::default() },
        Filter { from: of(9), ..Filter::default() },
    ];
    let right = [
        "from_msisdn = '+1'",
        "from_msisdn = '+2' AND ts >= '2025-01-15T12:00:00Z'",
        "text = 'Another'",
        "from_msisdn = '+3' AND text IS NOT NULL",
        "FALSE",
    ];
    let (mut cursors, mut seen) = ([0; 5], [const { Vec::new() }; 5]);
    for round in 0..400 {
        match fastrand::u8(0..10) {
            0 => {
                let insert = "INSERT INTO messages (message_id, from_msisdn, to_msisdn, ts, text, created_at) VALUES (?1, ?2, '+1', ?3, 'Another', '')";
                let from = format!("+{}", fastrand::u32(0..5));
                two.other.execute(insert, (format!("x{round}"), from, random_ts())).unwrap();
            }
            // Too many for what is kept of them.
            1 if round % 20 == 0 => {
                let many = (0..5_000).map(|index| message(round * 10_000 + index, 7, "2025-01-15T10:00:00Z"));
                two.commit(many.collect()).unwrap();
            }
            _ => {
                let few = (0..fastrand::u32(1..20))
                    .map(|index| message(round * 10_000 + index, fastrand::u32(0..5), &random_ts()));
                two.commit(few.collect()).unwrap();
            }
        }
        let followers: Vec<_> = cursors.into_iter().zip(filters.iter().cloned()).collect();
        let (last, may_match) = arrivals::followed(&two.store.turns, &followers).unwrap();
        for (index, filter) in filters.iter().enumerate().filter(|_| fastrand::bool()) {
            if !may_match[index] {
                cursors[index] = last;
                continue;
            }
            let page = page(cursors[index], fastrand::usize(1..=20), filter);
            seen[index].extend(page.items.iter().map(|arrival| arrival.seq));
            cursors[index] = page.next;
        }
    }
    for (index, filter) in filters.iter().enumerate() {
        loop {
            let page = page(cursors[index], 100, filter);
            seen[index].extend(page.items.iter().map(|arrival| arrival.seq));
            cursors[index] = page.next;
            if !page.more {
                break;
            }
        }
        let sql = format!("SELECT seq FROM messages WHERE {} ORDER BY seq", right[index]);
        let mut statement = two.other.prepare(&sql).unwrap();
        let right: Vec<i64> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(seen[index], right, "{sql}");
    }
}

/// The slices of walk.rs are small here, so that an instant has more messages than one has.
#[test]
fn a_page_is_that_of_sorting_all_messages_whatever_the_question() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    fastrand::seed(seed);
    for _ in 0..10 {
        let two = Two::open();
        let nanoseconds = [0, 1, 1000, 1001, 2]; // of two microseconds
        let instants: Vec<String> =
            nanoseconds[..fastrand::usize(1..6)].iter().map(|ns| format!("2025-01-15T10:00:00.{ns:09}Z")).collect();
        let random = |_| Message {
            id: MessageId::parse(format!("{}{}", fastrand::char('a'..'e'), fastrand::u16(..))).unwrap(),
            ..message(0, fastrand::u32(1..4), fastrand::choice(&instants).unwrap())
        };
        let mut model: Vec<(Moment, String, String)> = Vec::new();
        for _ in 0..fastrand::u8(0..20) {
            let messages: Vec<Message> = (0..fastrand::usize(1..12)).map(random).collect();
            let place = |message: &Message| {
                let Message { id, from, ts, .. } = message;
                (ts.moment(), id.as_str().to_owned(), from.as_str().to_owned())
            };
            let places: Vec<_> = messages.iter().map(place).collect();
            let outcomes = two.commit(messages).unwrap();
            model.extend(
                places.into_iter().zip(outcomes).filter(|(_, stored)| *stored == Stored::Created).map(|(p, _)| p),
            );
        }
        model.sort();
        for _ in 0..200 {
            let from = fastrand::bool().then(|| format!("+{}", fastrand::u32(1..5)));
            let since =
                fastrand::bool().then(|| Timestamp::parse(fastrand::choice(&instants).unwrap()).unwrap().moment());
            let matching: Vec<_> = model
                .iter()
                .filter(|(moment, _, sender)| {
                    since.is_none_or(|since| *moment >= since) && from.as_ref().is_none_or(|from| from == sender)
                })
                .collect();
            let (start, behind) = match fastrand::choice(&model) {
                Some((moment, id, _)) if fastrand::bool() => {
                    let cursor = Cursor { moment: *moment, id: id.clone() };
                    let behind = |(other, other_id, _): &&&(Moment, String, String)| (other, other_id) > (moment, id);
                    (Start::After(cursor), matching.iter().filter(behind).copied().collect())
                }
                _ => {
                    let offset = fastrand::usize(0..matching.len() + 3);
                    (Start::Offset(offset as u64), matching.iter().skip(offset).copied().collect::<Vec<_>>())
                }
            };
            let limit = fastrand::usize(1..40);
            let selection = Selection { from, since, needle: None, start, limit };
            let page = two.store.page(&selection).unwrap();
            assert_eq!(page.total, matching.len() as u64, "{selection:?}");
            let ids: Vec<&str> = page.items.iter().map(|item| item.message_id.as_str()).collect();
            let expected: Vec<&str> = behind.iter().take(limit).map(|(_, id, _)| id.as_str()).collect();
            assert_eq!(ids, expected, "{selection:?}");
            assert_eq!(page.next.is_some(), behind.len() > limit, "{selection:?}");
        }
    }
}

#[test]
fn a_moment_with_many_messages_is_neither_read_from_its_beginning_nor_when_it_is_only_the_end() {
    let two = Two::open();
    two.commit((0..1000).map(|id| message(id, 1, "2025-01-01T00:00:00Z")).collect()).unwrap();
    let at = Timestamp::parse("2025-01-01T00:00:00Z").unwrap().moment();
    let cost = |sql: &str, us: i64, end_us: i64| {
        let mut statement = two.other.prepare(sql).unwrap();
        let parameters: [(&str, &dyn ToSql); 8] = [
            (":from", &"+1"),
            (":us", &us),
            (":ns", &at.ns),
            (":last", &990),
            (":row_max", &i64::MAX),
            (":offset", &5),
            (":limit", &5),
            (":end_us", &end_us),
        ];
        row::bind(&mut statement, &parameters).unwrap();
        let mut rows = statement.raw_query();
        while rows.next().unwrap().is_some() {}
        drop(rows);
        statement.get_status(StatementStatus::VmStep)
    };
    for sql in [
        include_str!("../../../sql/sqlite/count_by_sender.sql"),
        include_str!("../../../sql/sqlite/entries_by_sender.sql"),
        include_str!("../../../sql/sqlite/search_by_sender.sql"),
        include_str!("../../../sql/sqlite/seek_by_sender.sql"),
    ] {
        let steps = cost(sql, at.us, at.us + 1);
        assert!(steps < 500, "{steps} steps for the last ten messages: {sql}");
    }
    for sql in [
        include_str!("../../../sql/sqlite/count_by_sender.sql"),
        include_str!("../../../sql/sqlite/count_by_moment.sql"),
        include_str!("../../../sql/sqlite/moments_between.sql"),
    ] {
        let steps = cost(sql, at.us - 1, at.us);
        assert!(steps < 500, "{steps} steps for what is before the moment: {sql}");
    }
}

/// The index has nothing, or a part of the messages; and another program changes texts that are in it, or are being put in.
#[test]
fn a_search_finds_what_sql_finds_however_far_the_index_is() {
    const COUNT: usize = 34_000; // the group that is complete, and some more
    fastrand::seed(211);
    let two = Two::open();
    let words = ["Order", "invoice 17", "Straße", "ΟΔΟΣ", "naïve", "x", "हिन्दी", "refund", "ab", ""];
    let text = || {
        let words: Vec<&str> = (0..fastrand::usize(0..6)).filter_map(|_| fastrand::choice(words)).collect();
        (fastrand::u8(0..20) > 0).then(|| words.join(" "))
    };
    let mut texts: Vec<Option<String>> = (0..COUNT).map(|_| text()).collect();
    texts[20_000] = Some("a needle".to_owned());
    let ts = |index: usize| format!("2025-01-15T10:{:02}:00Z", index % 60);
    let message = |(index, text): (usize, &Option<String>)| {
        let text = text.clone().map(Text::unbounded);
        Message { text, ..message(index as u32, index as u32 % 5, &ts(index)) }
    };
    two.commit(texts.iter().enumerate().map(message).collect()).unwrap();
    let agree = |texts: &[Option<String>]| {
        for needle in ["invoice 1", "STRASSE", "οδος", "हिन्", "x", "zz", "needle", "changed"] {
            for (from, since) in [(None, None), (Some(3), None), (None, Some(55))] {
                let mut scratch = Vec::new();
                let sought = Needle::new(needle).unwrap();
                let right = texts.iter().enumerate().filter(|(index, text)| {
                    from.is_none_or(|from| index % 5 == from)
                        && since.is_none_or(|since| index % 60 >= since)
                        && text.as_ref().is_some_and(|text| sought.is_in(text.as_bytes(), &mut scratch))
                });
                let right = right.count() as u64;
                let selection = Selection {
                    from: from.map(|from| format!("+{from}")),
                    since: since.map(|since| Timestamp::parse(&ts(since)).unwrap().moment()),
                    needle: Needle::new(needle),
                    start: Start::Offset(0),
                    limit: 7,
                };
                let page = two.store.page(&selection).unwrap();
                assert_eq!((page.total, page.items.len()), (right, right.min(7) as usize), "{selection:?}");
            }
        }
    };
    agree(&texts);
    let turns = &two.store.turns;
    assert_eq!(index::missing(turns).unwrap(), [0], "the last group is not complete");
    index::build(turns, 0).unwrap();
    assert!(index::missing(turns).unwrap().is_empty());
    let needle = Needle::new("needle").unwrap();
    assert_eq!(index::candidates(turns, &needle, i64::MAX).unwrap(), [19_968..=20_095, 32_768..=i64::MAX]);
    agree(&texts);
    std::thread::scope(|scope| {
        let path = two.directory.join("inbox.db");
        let texts = &mut texts;
        let meddling = scope.spawn(move || {
            let other = Connection::open(path).unwrap();
            other.busy_timeout(Duration::from_secs(60)).unwrap();
            for index in (0..100).map(|number| number * 300) {
                let text = format!("changed {index}");
                other.execute("UPDATE messages SET text = ?2 WHERE seq = ?1", (index as i64 + 1, &text)).unwrap();
                texts[index] = Some(text);
            }
        });
        while !meddling.is_finished() {
            let _ = index::build(turns, 0); // the database may be locked
        }
    });
    agree(&texts);
    index::build(turns, 0).unwrap();
    assert!(index::missing(turns).unwrap().is_empty());
    agree(&texts);
    while index::remove_below(turns, i64::MAX).unwrap() {}
    assert_eq!(index::missing(turns).unwrap(), [0]);
    agree(&texts);
}

/// A provider's delivery of these messages, each with a place in the body, and these statuses.
fn provided(ids: &[u32], statuses: &[&str]) -> Delivery {
    let messages = ids.iter().map(|&id| {
        let place = id as usize..id as usize + 2;
        let details = Details { kind: "text".to_owned(), place, ..Details::default() };
        Message { details: Some(details), ..message(id, 1, "2025-01-15T10:00:00Z") }
    });
    let statuses = statuses.iter().map(|status| StatusUpdate {
        message_id: MessageId::parse("sent".to_owned()).unwrap(),
        status: (*status).to_owned(),
        recipient: Party::unknown(),
        ts: Timestamp::parse("2025-01-15T10:00:00Z").unwrap(),
        error_code: None,
    });
    let raw = Some(Raw { fields: "X: y".to_owned(), body: b"body".to_vec() });
    Delivery { messages: messages.collect(), statuses: statuses.collect(), raw, ..Delivery::empty(Source::Native) }
}

#[test]
fn a_delivery_is_kept_once_and_its_messages_know_their_places_in_it() {
    use Stored::{Created, Duplicate};
    let two = Two::open();
    let commit = |delivery: Delivery| {
        let mut delivery = Some(delivery);
        two.store.commit(|deliveries| deliveries.extend(delivery.take())).unwrap().remove(0).unwrap()
    };
    let rows = |sql: &str| -> String { two.other.query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(commit(provided(&[1, 2, 1], &["sent"])), [Created, Created, Duplicate, Created]);
    assert_eq!(commit(provided(&[1, 2, 1], &["sent"])), [Duplicate; 4], "a retry");
    assert_eq!(commit(provided(&[2, 3], &["sent", "read"])), [Duplicate, Created, Duplicate, Created]);
    assert_eq!(commit(provided(&[], &[])), []);
    assert_eq!(rows("SELECT group_concat(id || hex(body)) FROM deliveries"), "1626F6479,2626F6479,3626F6479");
    let places =
        "SELECT group_concat(message_id || ':' || delivery || ':' || at || ':' || bytes) FROM (SELECT * FROM details
                  JOIN messages USING (seq) ORDER BY seq)";
    assert_eq!(rows(places), "m1:1:1:2,m2:1:2:2,m3:2:3:2");
    agree(&two); // no other table's rows are counted
    assert_eq!(rows("SELECT group_concat(seq || status || delivery) FROM statuses"), "1sent1,2read2");
}

#[test]
fn the_number_of_a_status_is_never_given_twice() {
    let two = Two::open();
    let commit = |status: &str| {
        let mut delivery = Some(provided(&[], &[status]));
        two.store.commit(|deliveries| deliveries.extend(delivery.take())).unwrap()
    };
    commit("sent");
    commit("read");
    two.other.execute("DELETE FROM statuses WHERE seq = 2", []).unwrap();
    commit("failed");
    let seq: i64 = two.other.query_row("SELECT MAX(seq) FROM statuses", [], |row| row.get(0)).unwrap();
    assert_eq!(seq, 3);
}

#[test]
fn the_details_of_a_message_go_with_it() {
    let two = Two::open();
    let mut delivery = Some(provided(&[1, 2], &[]));
    two.store.commit(|deliveries| deliveries.extend(delivery.take())).unwrap();
    two.other.execute_batch("UPDATE messages SET seq = 7 WHERE seq = 1; DELETE FROM messages WHERE seq = 2").unwrap();
    let left: String = two.other.query_row("SELECT group_concat(seq) FROM details", [], |row| row.get(0)).unwrap();
    assert_eq!(left, "7");
}
