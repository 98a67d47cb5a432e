//! What a reader would check by eye: the module list is the architecture, SQL lies in sql/, and every statement has the
//! plan that its size needs.

use crate::harness::{Database, Server, delivery};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a directory, with its path from the root of the project.
fn files(directory: &str) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    let mut directories = vec![root().join(directory)];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("the directory is there") {
            let path = entry.expect("the directory can be read").path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("the sources are text");
            files.insert(path.strip_prefix(root()).expect("it is below the root").to_owned(), text);
        }
    }
    files
}

/// The program without its unit tests, which may look anywhere.
fn sources() -> BTreeMap<PathBuf, String> {
    let without_tests = |text: String| text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
    let is_program = |path: &Path| !path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("tests"));
    let files = files("src").into_iter().filter(|(path, _)| is_program(path));
    files.map(|(path, text)| (path, without_tests(text))).collect()
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

#[test]
fn modules_use_only_modules_that_are_declared_below_them() {
    let sources = sources();
    let lib = &sources[Path::new("src/lib.rs")];
    let declared: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    assert!(declared.len() > 5, "{declared:?}");
    let place = |module: &str| declared.iter().position(|known| *known == module);
    for (path, text) in &sources {
        let module = path.components().nth(1).and_then(|part| Path::new(part.as_os_str()).file_stem()?.to_str());
        let Some(user) = module.and_then(place) else { continue }; // lib.rs and main.rs
        for line in text.lines().filter(|line| !is_comment(line)) {
            for used in line.split("crate::").skip(1) {
                let used = used.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                let below = place(used).is_some_and(|used| used >= user);
                assert!(below, "{} uses {used}, which is declared above it:\n{line}", path.display());
            }
        }
    }
    let expected: Vec<PathBuf> = declared.iter().map(|module| format!("src/{module}.rs").into()).collect();
    for file in &expected {
        assert!(sources.contains_key(file), "{} is declared but not there", file.display());
    }
}

#[test]
fn only_a_source_knows_its_signature_fields_and_only_the_list_of_paths_its_path() {
    let (mut fields, mut paths) = (0, 0);
    // Help texts and openapi.json are documents.
    for (path, text) in sources().iter().filter(|(path, _)| path.extension().is_some_and(|name| name == "rs")) {
        for line in text.lines().filter(|line| !is_comment(line)) {
            let lower = line.to_lowercase();
            if ["x-signature", "\"webhook-signature", "\"svix-"].iter().any(|field| lower.contains(field)) {
                assert!(path.starts_with("src/webhook"), "{} names a field of a source:\n{line}", path.display());
                fields += 1;
            }
            // The quote, a space or a slash after it: not /webhook-inbox.
            if ["/webhook\"", "/webhook ", "/webhook/"].iter().any(|literal| lower.contains(literal)) {
                assert!(path == Path::new("src/path.rs"), "{} names a path:\n{line}", path.display());
                paths += 1;
            }
        }
    }
    assert!(fields > 0 && paths > 0, "nothing was found, so nothing was looked at");
}

#[test]
fn every_file_of_sql_is_used_and_every_statement_is_in_one() {
    let sources = sources();
    for path in files("sql").keys() {
        let used = sources.values().any(|text| text.contains(&format!("{}\")", path.display())));
        assert!(used, "no include_str! of {}", path.display());
    }
    // What names no table of ours, or belongs to a transaction, is said where it is done.
    let allowed = ["SELECT name FROM pragma_table_info('messages')"];
    for (path, text) in &sources {
        for line in text.lines().filter(|line| !is_comment(line)) {
            for literal in line.split('"').skip(1).step_by(2) {
                let statement = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "CREATE ", "ALTER ", "DROP ", "WITH "];
                let is_sql = statement.iter().any(|keyword| literal.starts_with(keyword));
                assert!(!is_sql || allowed.contains(&literal), "{}: SQL belongs into sql/:\n{line}", path.display());
            }
        }
    }
}

#[test]
fn no_statement_scans_the_table_or_sorts_it_unless_the_reason_is_known() {
    let allowed = [
        ("sql/tally.sql", "SCAN messages", "once at the start"),
        ("sql/tally_first.sql", "SCAN messages", "read in steps, after another program has changed messages"),
        ("sql/seen.sql", "SCAN messages_changes", "has one row"),
        ("sql/page_since_by_sender.sql", "USE TEMP B-TREE FOR LAST TERM OF ORDER BY", "sorts within one nanosecond"),
        ("sql/page_after_by_sender.sql", "USE TEMP B-TREE FOR LAST TERM OF ORDER BY", "sorts within one nanosecond"),
    ];
    let server = Server::start();
    server.deliver(delivery("m1"));
    let database = Database::open(server.database());
    let statements = files("sql").into_iter().filter(|(path, _)| !path.starts_with("sql/migrations"));
    for (path, sql) in statements {
        for step in database.plan(&sql) {
            let dear = step.starts_with("SCAN messages") || step.contains("TEMP B-TREE");
            let known = allowed.iter().any(|(file, known, _)| path == Path::new(file) && step.starts_with(known));
            assert!(!dear || known, "{}: {step}\n{sql}", path.display());
        }
    }
}
