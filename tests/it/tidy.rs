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

/// The modules that a file declares, in their order.
fn declared(text: &str) -> Vec<&str> {
    // A declaration of a file is neither indented nor commented out.
    let lines = text.lines().filter(|line| line.starts_with("mod ") || line.starts_with("pub"));
    lines.filter_map(|line| Some(line.strip_suffix(';')?.split_once("mod ")?.1)).collect()
}

/// The paths of a tree such as `a::{b, c::{d, e}}` at the beginning of a text, and what follows it.
fn paths<'a>(tree: &'a str, before: &[&'a str], found: &mut Vec<Vec<&'a str>>) -> &'a str {
    let tree = tree.trim_start();
    if let Some(mut rest) = tree.strip_prefix('{') {
        while !rest.is_empty() && !rest.trim_start().starts_with('}') {
            rest = paths(rest, before, found).trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        return rest.trim_start().strip_prefix('}').unwrap_or_default();
    }
    let end = tree.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(tree.len());
    let path = [before, &[&tree[..end]]].concat();
    match tree[end..].strip_prefix("::") {
        Some(rest) => paths(rest, &path, found),
        None => {
            found.push(path);
            // A name such as `self as x`, or a character that no path has: on to the next of the group.
            let rest = &tree[end..];
            &rest[rest.find([',', '}', ';', '\n']).unwrap_or(rest.len())..]
        }
    }
}

#[test]
fn modules_use_only_modules_that_are_declared_below_them() {
    let sources = sources();
    let lib = Path::new("src/lib.rs");
    assert!(declared(&sources[lib]).len() > 5, "{:?}", declared(&sources[lib]));
    let mut looked_at = 0;
    for (path, text) in &sources {
        let user: Vec<&str> = path.iter().skip(1).filter_map(|part| Path::new(part).file_stem()?.to_str()).collect();
        if matches!(user[..], ["lib" | "main"]) {
            continue;
        }
        let code: Vec<&str> = text.lines().filter(|line| !is_comment(line)).collect();
        let above: String = user[..user.len() - 1].iter().map(|module| format!("{module}::")).collect();
        let code = code.join("\n").replace("super::", &format!("crate::{above}"));
        let mut used = Vec::new();
        code.split("crate::").skip(1).for_each(|tree| {
            paths(tree, &[], &mut used);
        });
        for used in used {
            let depth = user.iter().zip(&used).take_while(|(user, used)| user == used).count();
            let (Some(user), Some(name)) = (user.get(depth), used.get(depth)) else { continue }; // its own, or its folder
            let head = match depth {
                0 => lib.to_owned(),
                _ => Path::new("src").join(used[..depth].join("/")).with_extension("rs"),
            };
            let declared = declared(&sources[&head]);
            let place = |module: &str| declared.iter().position(|known| *known == module);
            let Some(used_place) = place(name) else { continue }; // what the head of the folder itself defines
            let head = head.display();
            assert!(Some(used_place) >= place(user), "{}: {name} is declared above {user} in {head}", path.display());
            looked_at += 1;
        }
    }
    assert!(looked_at > 100, "only {looked_at} uses were found");
}

#[test]
fn every_module_of_the_crate_is_in_a_file_of_its_own() {
    let sources = sources();
    for module in declared(&sources[Path::new("src/lib.rs")]) {
        assert!(sources.contains_key(&Path::new("src").join(module).with_extension("rs")), "there is no {module}");
    }
}

/// Another engine then touches that engine's folder, and the tests run on it as they are.
#[test]
fn each_driver_of_a_database_is_named_only_in_its_folder_and_in_the_helper_of_the_tests() {
    let sqlite = ["src/store/sqlite.rs", "src/store/sqlite", "tests/it/harness/database.rs", "benches/support"];
    for (driver, its_own, files_min) in [
        (concat!("rus", "qlite"), &sqlite[..], 6),
        (concat!("tok", "io"), &["src/store/postgres/connection.rs", "src/store/postgres/tls.rs"], 2),
    ] {
        let mut named = 0;
        for (path, text) in ["src", "tests/it", "benches"].into_iter().flat_map(files) {
            if its_own.iter().any(|own| path.starts_with(own)) {
                named += usize::from(text.contains(driver));
                continue;
            }
            let line = text.lines().find(|line| line.contains(driver));
            assert_eq!(line, None, "{} names the driver", path.display());
        }
        assert!(named >= files_min, "only {named} files name it at all");
    }
}

#[test]
fn only_a_source_knows_its_signature_fields_and_only_the_list_of_paths_its_path() {
    let (mut fields, mut paths) = (0, 0);
    // Help texts and openapi.json are documents.
    for (path, text) in sources().iter().filter(|(path, _)| path.extension().is_some_and(|name| name == "rs")) {
        for line in text.lines().filter(|line| !is_comment(line)) {
            let lower = line.to_lowercase();
            let lower = lower.replace("\"inbox-signature\"", ""); // a field of answers
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

/// Whatever a stranger writes into a message stays text: no part of the page makes markup, style or script of a string.
#[test]
fn the_page_makes_no_markup_of_texts() {
    let page = files("src/page");
    let assets: Vec<_> = page.iter().filter(|(path, _)| path.extension().is_some_and(|kind| kind != "rs")).collect();
    assert_eq!(assets.len(), 4, "{assets:?}");
    let refused = [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "srcdoc",
        "DOMParser",
        "createContextualFragment",
        "eval(",
        "Function(",
        "javascript:",
        "style=",
        "http://",
        "https://",
    ];
    // The name of an XML namespace is no address.
    let namespace = "http://www.w3.org/2000/svg";
    for (path, text) in assets {
        let text = text.replace(namespace, "");
        let found: Vec<_> = refused.iter().filter(|word| text.contains(**word)).collect();
        assert!(found.is_empty(), "{} has {found:?}", path.display());
        let is_handler = |word: &str| word.starts_with("on") && word.contains("=\"");
        assert!(!text.split_whitespace().any(is_handler), "{} has an event handler in markup", path.display());
    }
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
        ("sql/sqlite/tally.sql", "SCAN messages", "once at the start"),
        ("sql/sqlite/expire_messages.sql", "SCAN messages", "the first rows"),
        ("sql/sqlite/statuses_of_message.sql", "USE TEMP B-TREE", "what one message has"),
        ("sql/sqlite/count_of_person.sql", "USE TEMP B-TREE", "a command, out of indexes alone"),
        ("sql/sqlite/names_of_person.sql", "USE TEMP B-TREE", "a command, and few rows"),
        ("sql/sqlite/names_of_person.sql", "SCAN messages", "a command"),
    ];
    let server = Server::start();
    server.deliver(delivery("m1"));
    let database = Database::open(server.database());
    let statements = files("sql/sqlite").into_iter().filter(|(path, _)| !path.starts_with("sql/sqlite/migrations"));
    for (path, sql) in statements {
        for step in database.plan(&sql) {
            let dear = step.starts_with("SCAN messages") || step.contains("TEMP B-TREE");
            let known = allowed.iter().any(|(file, known, _)| path == Path::new(file) && step.starts_with(known));
            assert!(!dear || known, "{}: {step}\n{sql}", path.display());
        }
    }
}
