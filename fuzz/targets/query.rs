//! A cursor on the first line and a query string on the second: a link to the next page has the cursor.

#![no_main]

use webhook_inbox::query::{Cursor, Parameters, Start, history, refusals};

libfuzzer_sys::fuzz_target!(|input: &str| {
    let (cursor, query) = input.split_once('\n').unwrap_or((input, input));
    let _ = (history::parse(query, 1_736_935_200), refusals::parse(query)); // only that they return is asserted
    let parameters = Parameters::decode(query);
    let is_accepted = parameters.check().is_ok();
    if let Some(cursor) = Cursor::parse(cursor) {
        assert_eq!(Cursor::parse(&cursor.to_string()).as_ref(), Some(&cursor));
        let link = parameters.next(&cursor);
        let next = Parameters::decode(link.split_once('?').expect("a link has a query string").1).check();
        match next {
            Ok(next) => assert!(matches!(next.selection.start, Start::After(start) if start == cursor), "{link}"),
            Err(faults) => assert!(!is_accepted, "{link}: {faults:?}"),
        }
    }
});
