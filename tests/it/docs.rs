//! The pages for readers: what they link to and cite is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README.md and its like, and docs/, by their paths from the root of the project.
fn pages() -> Vec<(PathBuf, String)> {
    let directories =
        ["", "docs"].into_iter().flat_map(|name| std::fs::read_dir(root().join(name)).expect("it is there"));
    let paths = directories.map(|entry| entry.expect("it can be read").path());
    let pages = paths.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let page = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a page is text");
        (path.strip_prefix(root()).expect("it is below the root").to_owned(), text)
    };
    pages.map(page).collect()
}

/// The lines of a page without those of fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_fenced = false;
    text.lines().filter(move |line| {
        let is_fence = line.starts_with("```");
        is_fenced ^= is_fence;
        !is_fenced && !is_fence
    })
}

/// The names under which a page's headings can be linked to, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let kept = heading.to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_within_the_project_leads_somewhere() {
    for (page, text) in pages() {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
            let path = match file {
                "" => page.clone(),
                file => page.parent().expect("it is a file").join(file),
            };
            let there = root().join(&path);
            assert!(there.exists(), "{}: {target}", page.display());
            if let Some(anchor) = anchor {
                let text = std::fs::read_to_string(there).expect("a page is text");
                assert!(anchors(&text).contains(anchor), "{}: {target}", page.display());
            }
        }
    }
}

#[test]
fn every_file_and_test_that_a_page_cites_is_there() {
    for (page, text) in pages() {
        let words = prose(&text).flat_map(|line| line.split('`').skip(1).step_by(2));
        let is_path =
            |word: &&str| ["src/", "sql/", "tests/", "deploy/", "benches/"].iter().any(|top| word.starts_with(top));
        for word in words.filter(is_path).filter(|word| !word.contains([' ', '*', '…']) && !word.contains("NAME")) {
            let (path, test) = word.split_once("::").map_or((word, None), |(path, test)| (path, Some(test)));
            assert!(root().join(path).exists(), "{}: {path}", page.display());
            if let Some(test) = test {
                let text = std::fs::read_to_string(root().join(path)).expect("a source is text");
                assert!(text.contains(&format!("fn {test}()")), "{}: {word}", page.display());
            }
        }
    }
}

/// Phrases that make a reader stop, and what to write instead.
const HARD: [(&str, &str); 13] = [
    ("nobody", "the actor: no client, no worker"),
    ("anybody", "the actor"),
    ("somebody", "the actor: a client, another program"),
    ("whoever", "the actor"),
    ("anew", "again"),
    ("mend", "fix"),
    ("mended", "fixed"),
    ("in place of", "instead of"),
    ("for want of", "because there is no"),
    ("but for", "except for"),
    ("goes on", "continues"),
    ("go on", "continue"),
    ("told", "reported, logged"),
];

/// What users read, and what readers of the code do: pages, help, the units and rules, the page in a browser, comments.
#[test]
fn what_people_read_is_in_plain_english() {
    let mut texts = pages();
    let mut directories: Vec<PathBuf> =
        ["src", "sql", "benches", "deploy", "release"].map(|name| root().join(name)).into();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("it is there") {
            let path = entry.expect("it can be read").path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let is_read = |extension: &std::ffi::OsStr| {
                ["txt", "json", "html", "yml", "service", "sh", "rs", "sql", "js", "py"]
                    .iter()
                    .any(|known| extension == *known)
            };
            if path.extension().is_some_and(is_read) {
                let text = std::fs::read_to_string(&path).expect("it is text");
                texts.push((path.strip_prefix(root()).expect("it is below the root").to_owned(), text));
            }
        }
    }
    for (path, text) in texts {
        let text: Vec<&str> = text.split('`').filter(|part| !part.contains(".rs::")).collect(); // names of tests
        let text = text.join(" ");
        let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let words = format!(" {} ", words.join(" ").to_lowercase());
        for (phrase, instead) in HARD {
            assert!(!words.contains(&format!(" {phrase} ")), "{}: {phrase}; write {instead}", path.display());
        }
    }
}
