//! The index of `q`: behind the messages, and never in the way of an exact answer.

use crate::commands::command_with_input;
use crate::harness::{Database, Delivery, Directory, Server, database_url, program, run, until};

/// Messages of the part of the index that is complete, and some more.
const COUNT: usize = 33_000;

/// A database with so many messages; each thousandth is of +2, and speaks of a zebra.
fn imported() -> Directory {
    let directory = Directory::new();
    let line = |index: usize| {
        let (from, text) = if index % 1000 == 7 { ("+2", "a ZEBRA came") } else { ("+1", "nothing to see") };
        Delivery { from: from.to_owned(), text: Some(text.to_owned()), ..Delivery::of(&format!("m{index}")) }.body()
            + "\n"
    };
    let mut command = command_with_input(&directory, (0..COUNT).map(line).collect::<String>());
    let url = database_url(&directory.database());
    let ended = run(command.arg("import").env("DATABASE_URL", url));
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    directory
}

fn total(server: &Server, q: &str) -> u64 {
    server.get(&format!("/messages?q={q}")).json()["total"].as_u64().expect("a number")
}

fn until_indexed(server: &Server) {
    until("the index has all", || server.metric("inbox_search_index_behind_messages") == 0.0);
}

fn slices(server: &Server) -> i64 {
    Database::open(server.database()).number("SELECT COUNT(*) FROM search_slices")
}

#[test]
fn a_search_is_exact_with_an_index_and_without_and_after_changes() {
    let mut server = Server::in_directory(imported(), &[("SEARCH_INDEX", "off")]);
    assert_eq!((total(&server, "zebra"), total(&server, "giraffe"), slices(&server)), (33, 0, 0));
    server.terminate();
    assert_eq!(server.wait_exit().code(), Some(0));

    server.start_again_with(&[("SEARCH_INDEX", "on")]);
    until_indexed(&server);
    assert!(slices(&server) > 500);
    assert_eq!((total(&server, "zebra"), total(&server, "giraffe")), (33, 0));
    server.deliver(Delivery { text: Some("another zebra".to_owned()), ..Delivery::of("new") }.body());
    assert_eq!(total(&server, "zebra"), 34, "the newest are not in the index");
    let database = Database::open(server.database());
    database.run("UPDATE messages SET text = 'a giraffe' WHERE message_id = 'm100'; DELETE FROM messages WHERE message_id = 'm7'");
    assert_eq!((total(&server, "zebra"), total(&server, "giraffe")), (33, 1));
    until("the index was built again", || database.number("SELECT COUNT(*) FROM search_groups WHERE state = 0") == 1);
    assert_eq!((total(&server, "zebra"), total(&server, "giraffe")), (33, 1));
    database.assert_whole();
}

#[test]
fn the_index_of_what_is_erased_goes_with_it() {
    let mut server = Server::in_directory(imported(), &[]);
    until_indexed(&server);
    server.terminate();
    assert_eq!(server.wait_exit().code(), Some(0));
    let url = database_url(&server.database());
    let ended = run(program().args(["erase", "--from", "+2"]).env("DATABASE_URL", url));
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(slices(&server), 0);
    server.start_again();
    until_indexed(&server);
    assert!(slices(&server) > 500);
    assert_eq!((total(&server, "zebra"), total(&server, "nothing")), (0, COUNT as u64 - 33));
}
