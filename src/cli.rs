//! The grammar of the command line and its help.

use crate::command::{Command, Draft, Exporting, Following, Forwarding, Signing, Url};
use crate::config;
use crate::delivery::Source;
use crate::message::{Msisdn, Party};
use crate::timestamp::Timestamp;
use crate::webhook::standard;
use lexopt::{Arg, Error, Parser};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

/// The help texts: the general one, then one for each subcommand.
static HELP: LazyLock<String> = LazyLock::new(|| include_str!("cli/all.txt").replace("{settings}\n", &config::names()));
static SERVE: LazyLock<String> =
    LazyLock::new(|| include_str!("cli/serve.txt").replace("{settings}\n", &config::help()));
const TAIL: &str = include_str!("cli/tail.txt");
const FORWARD: &str = include_str!("cli/forward.txt");
const STATS: &str = include_str!("cli/stats.txt");
const SOURCES: &str = include_str!("cli/sources.txt");
const HEALTH: &str = include_str!("cli/health.txt");
const SIGN: &str = include_str!("cli/sign.txt");
const SEND: &str = include_str!("cli/send.txt");
const VERIFY: &str = include_str!("cli/verify.txt");
const EXPORT: &str = include_str!("cli/export.txt");
const IMPORT: &str = include_str!("cli/import.txt");
const BACKUP: &str = include_str!("cli/backup.txt");
const CHECK: &str = include_str!("cli/check.txt");
const ERASE: &str = include_str!("cli/erase.txt");

/// Parses the arguments after the program's name.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Command {
    let mut parser = Parser::from_args(arguments);
    match parser.next() {
        Ok(None) => Command::Serve,
        Ok(Some(Arg::Value(name))) => subcommand(&name.to_string_lossy(), &mut parser),
        Ok(Some(argument)) => or_misuse(general(argument, &HELP), ""),
        Err(error) => or_misuse(Err(error), ""),
    }
}

fn subcommand(name: &str, parser: &mut Parser) -> Command {
    let parsed = match name {
        "serve" => alone(parser, Command::Serve, &SERVE),
        "tail" => tail(parser),
        "forward" => forward(parser),
        "stats" => read(parser, |json, url| Command::Stats { json, url }, STATS),
        "sources" => read(parser, |json, url| Command::Sources { json, url }, SOURCES),
        "health" => health(parser),
        "check" => alone(parser, Command::Check, CHECK),
        "sign" => sign(parser),
        "send" => send(parser),
        "verify" => verify(parser),
        "export" => export(parser),
        "import" => import(parser),
        "backup" => backup(parser),
        "erase" => erase(parser),
        "help" => alone(parser, Command::Help(&HELP), &HELP),
        _ => return or_misuse(Err(format!("there is no command {name:?}").into()), ""),
    };
    or_misuse(parsed, name)
}

fn or_misuse(parsed: Result<Command, Error>, name: &str) -> Command {
    let space = if name.is_empty() { "" } else { " " };
    parsed.unwrap_or_else(|error| Command::Misuse(format!("{error}. See: webhook-inbox {name}{space}--help")))
}

/// What every subcommand takes. Anything else is wrong wherever it comes here.
fn general(argument: Arg<'_>, help: &'static str) -> Result<Command, Error> {
    match argument {
        Arg::Short('h') | Arg::Long("help") => Ok(Command::Help(help)),
        Arg::Short('V') | Arg::Long("version") => Ok(Command::Version),
        other => Err(other.unexpected()),
    }
}

/// A subcommand without options.
fn alone(parser: &mut Parser, command: Command, help: &'static str) -> Result<Command, Error> {
    parser.next()?.map_or(Ok(command), |argument| general(argument, help))
}

fn health(parser: &mut Parser) -> Result<Command, Error> {
    let mut url = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Value(word) if url.is_none() => url = Some(parse_url("the URL", &word.to_string_lossy())?),
            other => return general(other, HEALTH),
        }
    }
    Ok(Command::Health { url })
}

fn tail(parser: &mut Parser) -> Result<Command, Error> {
    let mut following = Following::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('f') | Arg::Long("follow") => following.follow = true,
            Arg::Short('n') => following.count = number("-n", 0, 1000, &text(parser)?)? as usize,
            Arg::Long("json") => following.json = true,
            Arg::Long("from") => following.filters.push(("from", sender(parser)?.as_str().to_owned())),
            Arg::Long("since") => following.filters.push(("since", instant(parser)?.as_str().to_owned())),
            Arg::Long("q") => following.filters.push(("q", text(parser)?)),
            Arg::Long("type") => following.filters.push(("type", text(parser)?)),
            Arg::Long("source") => following.filters.push(("source", text(parser)?)),
            Arg::Long("after") => {
                following.after = Some(number("--after", 0, i64::MAX as u64, &text(parser)?)?.to_string());
            }
            Arg::Long("max") => following.max = Some(number("--max", 1, u64::MAX, &text(parser)?)?),
            Arg::Long("timeout") => {
                following.timeout = Some(Duration::from_secs(number("--timeout", 1, 86_400, &text(parser)?)?));
            }
            Arg::Value(word) if following.url.is_none() => {
                following.url = Some(parse_url("the URL", &word.to_string_lossy())?);
            }
            other => return general(other, TAIL),
        }
    }
    if following.timeout.is_some() && !following.follow {
        return Err("--timeout belongs to -f: without it, tail waits for nothing".into());
    }
    Ok(Command::Tail(following))
}

fn forward(parser: &mut Parser) -> Result<Command, Error> {
    let (mut to, mut cursor, mut after, mut resign) = (None, PathBuf::from("forward.cursor"), None, false);
    let (mut skip_after, mut skipped, mut url) = (None, None, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("to") => to = Some(parse_url("--to", &text(parser)?)?),
            Arg::Long("cursor") => cursor = file_name("--cursor", parser.value()?)?,
            Arg::Long("after") => after = Some(number("--after", 0, i64::MAX as u64, &text(parser)?)? as i64),
            Arg::Long("resign") => resign = true,
            Arg::Long("skip-after") => skip_after = Some(number("--skip-after", 1, u64::MAX, &text(parser)?)?),
            Arg::Long("skipped") => skipped = Some(file_name("--skipped", parser.value()?)?),
            Arg::Value(word) if url.is_none() => url = Some(parse_url("the URL", &word.to_string_lossy())?),
            other => return general(other, FORWARD),
        }
    }
    let to = to.ok_or("the target is missing: forward --to URL")?;
    Ok(Command::Forward(Forwarding { to, cursor, after, resign, skip_after, skipped, url }))
}

/// `/` and `..` name no file.
fn file_name(name: &str, given: OsString) -> Result<PathBuf, Error> {
    let file = Some(PathBuf::from(given)).filter(|file| file.file_name().is_some());
    file.ok_or_else(|| format!("{name} needs the name of a file").into())
}

/// A command that reads from a service and prints what it says.
fn read(parser: &mut Parser, command: fn(bool, Option<Url>) -> Command, help: &'static str) -> Result<Command, Error> {
    let (mut json, mut url) = (false, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("json") => json = true,
            Arg::Value(word) if url.is_none() => url = Some(parse_url("the URL", &word.to_string_lossy())?),
            other => return general(other, help),
        }
    }
    Ok(command(json, url))
}

fn sign(parser: &mut Parser) -> Result<Command, Error> {
    let (mut source, mut header, mut file) = (Source::Native, false, None);
    let (mut id, mut timestamp_s) = (None, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("scheme") => source = scheme(parser)?,
            Arg::Long("header") => header = true,
            Arg::Long("id") => id = Some(webhook_id(parser)?),
            Arg::Long("timestamp") => timestamp_s = Some(seconds(parser)?),
            Arg::Value(word) if file.is_none() => file = Some(PathBuf::from(word)),
            other => return general(other, SIGN),
        }
    }
    let signing = match source {
        Source::Native | Source::Meta if id.is_some() || timestamp_s.is_some() => {
            return Err("--id and --timestamp belong to --scheme standard".into());
        }
        Source::Native | Source::Meta => Signing::Body { source, header },
        Source::Standard => Signing::Standard { id, timestamp_s },
    };
    Ok(Command::Sign { signing, file })
}

fn send(parser: &mut Parser) -> Result<Command, Error> {
    let mut draft = Draft::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("scheme") => draft.source = scheme(parser)?,
            Arg::Long("from") => draft.from = text(parser)?,
            Arg::Long("to") => draft.to = text(parser)?,
            Arg::Long("text") => draft.text = text(parser)?,
            Arg::Long("id") => draft.id = Some(text(parser)?),
            Arg::Long("ts") => draft.ts = Some(text(parser)?),
            Arg::Long("url") => draft.url = Some(parse_url("--url", &text(parser)?)?),
            other => return general(other, SEND),
        }
    }
    Ok(Command::Send(draft))
}

fn verify(parser: &mut Parser) -> Result<Command, Error> {
    let (mut source, mut signature, mut file) = (Source::Native, None, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("scheme") => source = scheme(parser)?,
            // As bytes go: what is not UTF-8 is not a signature either, and `verify` says so.
            Arg::Value(word) if signature.is_none() => signature = Some(word.to_string_lossy().into_owned()),
            Arg::Value(word) if file.is_none() => file = Some(PathBuf::from(word)),
            other => return general(other, VERIFY),
        }
    }
    let signature = signature.ok_or("the signature is missing: verify SIGNATURE < BODY")?;
    Ok(Command::Verify { source, signature, file })
}

fn export(parser: &mut Parser) -> Result<Command, Error> {
    let (mut from, mut since, mut q, mut raw) = (None, None, None, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("from") => from = Some(sender(parser)?),
            Arg::Long("since") => since = Some(instant(parser)?),
            Arg::Long("q") => q = Some(text(parser)?),
            Arg::Long("raw") => raw = true,
            other => return general(other, EXPORT),
        }
    }
    let is_part = from.is_some() || since.is_some() || q.is_some();
    match raw {
        // A delivery holds messages of several senders.
        true if is_part => Err("--raw prints all that is stored, so --from, --since and --q do not go with it".into()),
        true => Ok(Command::Export(Exporting::Everything)),
        false => Ok(Command::Export(Exporting::Messages { from, since, q })),
    }
}

fn import(parser: &mut Parser) -> Result<Command, Error> {
    let mut file = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Value(word) if file.is_none() => file = Some(PathBuf::from(word)),
            other => return general(other, IMPORT),
        }
    }
    Ok(Command::Import { file })
}

fn backup(parser: &mut Parser) -> Result<Command, Error> {
    let (mut file, mut replace) = (None, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("replace") => replace = true,
            Arg::Value(word) if file.is_none() => file = Some(PathBuf::from(word)),
            other => return general(other, BACKUP),
        }
    }
    // `/` and `..` name no file.
    let file = file.filter(|file| file.file_name().is_some());
    let file = file.ok_or("the file to write is missing: backup FILE")?;
    Ok(Command::Backup { file, replace })
}

fn erase(parser: &mut Parser) -> Result<Command, Error> {
    let (mut from, mut dry_run) = (None, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("from") => from = Some(person(parser)?),
            Arg::Long("dry-run") => dry_run = true,
            other => return general(other, ERASE),
        }
    }
    let from = from.ok_or("the sender is missing: erase --from +919876543210")?;
    Ok(Command::Erase { from, dry_run })
}

/// The value of `erase --from`: a sender, or a user identifier of WhatsApp, such as `US.13491208655302741918`.
fn person(parser: &mut Parser) -> Result<Party, Error> {
    let given = text(parser)?;
    let is_user = |(country, id): (&str, &str)| {
        let id = id.strip_prefix("ENT.").unwrap_or(id);
        let is_id = (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_uppercase()) && is_id
    };
    match given.split_once('.').is_some_and(is_user) {
        true => Party::named(given).ok_or_else(|| "--from is too long".into()),
        false => number_of(given).map(Party::from),
    }
}

/// The value of `--scheme`.
fn scheme(parser: &mut Parser) -> Result<Source, Error> {
    let given = text(parser)?;
    let source = Source::ALL.into_iter().find(|source| source.label() == given);
    source.ok_or_else(|| format!("--scheme is {given:?}. Give {}", Source::ALL.map(Source::label).join(" or ")).into())
}

/// The value of `sign --id`.
fn webhook_id(parser: &mut Parser) -> Result<String, Error> {
    let given = text(parser)?;
    let refused = || format!("--id is {given:?}. Give visible ASCII characters without a full stop").into();
    if standard::is_id(&given) { Ok(given) } else { Err(refused()) }
}

/// The value of `sign --timestamp`.
fn seconds(parser: &mut Parser) -> Result<u64, Error> {
    let given = text(parser)?;
    given.parse().map_err(|_| format!("--timestamp is {given:?}. Give whole seconds since 1970").into())
}

/// The value of `--since`.
fn instant(parser: &mut Parser) -> Result<Timestamp, Error> {
    let given = text(parser)?;
    Timestamp::parse(&given).map_err(|refusal| format!("--since is {given:?}. {}", refusal.msg).into())
}

/// A whole number within bounds.
fn number(name: &str, min: u64, max: u64, given: &str) -> Result<u64, Error> {
    let number = given.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| format!("{name} is {given:?}. Give a whole number from {min} to {max}").into())
}

fn parse_url(name: &str, text: &str) -> Result<Url, Error> {
    let refused = |why| format!("{name} is {text:?}: {why}. Give one like http://127.0.0.1:8000").into();
    Url::parse(text).map_err(refused)
}

/// The value of `--from`. A number in any other form than messages have matches no message, so it is refused: an erasure
/// must not report success because of a missing `+`.
fn sender(parser: &mut Parser) -> Result<Msisdn, Error> {
    number_of(text(parser)?)
}

fn number_of(given: String) -> Result<Msisdn, Error> {
    let advice = match international(&given) {
        Some(number) => format!("Perhaps {} is meant", number.as_str()),
        None => "Give + and the number with its country code, for example +919876543210".to_owned(),
    };
    Msisdn::parse(given.clone()).map_err(|_| format!("--from is {given:?}, which is not a sender. {advice}").into())
}

/// The number that was probably meant, from one written as people write it: without `+`, with `00` instead, or with
/// spaces, dashes, parentheses and the trunk prefix `(0)`.
fn international(written: &str) -> Option<Msisdn> {
    let without_trunk = written.replace("(0)", "");
    let bare: String =
        without_trunk.chars().filter(|c| !c.is_whitespace() && !"-()./\u{2010}\u{2011}".contains(*c)).collect();
    let digits = bare.strip_prefix('+').or_else(|| bare.strip_prefix("00")).unwrap_or(&bare);
    // No country code begins with 0: this is a national number, and its country is unknown.
    if digits.starts_with('0') { None } else { Msisdn::parse(format!("+{digits}")).ok() }
}

/// The value of an option, which has to be text.
fn text(parser: &mut Parser) -> Result<String, Error> {
    parser.value()?.into_string().map_err(|value| format!("{value:?} is not UTF-8").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Command {
        super::parse(line.split_whitespace().map(OsString::from))
    }

    fn number(text: &str) -> Option<Msisdn> {
        Msisdn::parse(text.to_owned()).ok()
    }

    #[test]
    fn a_sender_in_another_form_is_refused_with_the_form_that_was_probably_meant() {
        for (given, meant) in [
            ("919876543210", Some("+919876543210")),
            ("+91 98765 43210", Some("+919876543210")),
            ("00919876543210", Some("+919876543210")),
            ("+1 (415) 555-0100", Some("+14155550100")),
            ("+49 (0)30 123/456", Some("+4930123456")),
            ("0171 2345678", None),
            ("+1234567890123456", None),
            ("+91x", None),
            ("+", None),
            ("", None),
        ] {
            for command in ["erase", "export"] {
                let refused = super::parse([command, "--from", given].map(OsString::from));
                let Command::Misuse(said) = refused else { panic!("{given:?} is taken: {refused:?}") };
                let advice = meant.map_or("country code".to_owned(), |meant| format!("Perhaps {meant} is meant"));
                assert!(said.contains(&format!("{given:?}")) && said.contains(&advice), "{given:?}: {said}");
            }
        }
    }

    #[test]
    fn the_command_line_is_a_command_or_a_clear_refusal() {
        let forwarding = Forwarding {
            to: Url::parse("http://x:1/y").unwrap(),
            cursor: "forward.cursor".into(),
            after: None,
            resign: false,
            skip_after: None,
            skipped: None,
            url: None,
        };
        for (line, command) in [
            ("", Command::Serve),
            ("serve", Command::Serve),
            ("health", Command::Health { url: None }),
            ("forward --to http://x:1/y", Command::Forward(forwarding.clone())),
            (
                "forward http://z --to=http://x:1/y --cursor a/b --after 0 --resign --skip-after 3 --skipped c",
                Command::Forward(Forwarding {
                    cursor: "a/b".into(),
                    after: Some(0),
                    resign: true,
                    skip_after: Some(3),
                    skipped: Some("c".into()),
                    url: Url::parse("http://z").ok(),
                    ..forwarding
                }),
            ),
            ("health http://x:1", Command::Health { url: Url::parse("http://x:1").ok() }),
            ("check", Command::Check),
            ("--help", Command::Help(&HELP)),
            ("-h", Command::Help(&HELP)),
            ("help", Command::Help(&HELP)),
            ("serve --help", Command::Help(&SERVE)),
            ("erase -h", Command::Help(ERASE)),
            ("--version", Command::Version),
            ("-V", Command::Version),
            ("backup --version", Command::Version),
            ("sign", Command::Sign { signing: Signing::Body { source: Source::Native, header: false }, file: None }),
            (
                "sign --header x --scheme meta",
                Command::Sign { signing: Signing::Body { source: Source::Meta, header: true }, file: Some("x".into()) },
            ),
            (
                "sign --scheme standard --header",
                Command::Sign { signing: Signing::Standard { id: None, timestamp_s: None }, file: None },
            ),
            (
                "sign --id=a --scheme=standard --timestamp 7 x",
                Command::Sign {
                    signing: Signing::Standard { id: Some("a".to_owned()), timestamp_s: Some(7) },
                    file: Some("x".into()),
                },
            ),
            ("verify ab", Command::Verify { source: Source::Native, signature: "ab".to_owned(), file: None }),
            (
                "verify ab c --scheme standard",
                Command::Verify { source: Source::Standard, signature: "ab".to_owned(), file: Some("c".into()) },
            ),
            ("export", Command::Export(Exporting::Messages { from: None, since: None, q: None })),
            ("export --raw", Command::Export(Exporting::Everything)),
            (
                "export --from +1 --since 2025-01-15T10:00:00Z --q=x",
                Command::Export(Exporting::Messages {
                    from: number("+1"),
                    since: Timestamp::parse("2025-01-15T10:00:00Z").ok(),
                    q: Some("x".to_owned()),
                }),
            ),
            ("import", Command::Import { file: None }),
            ("stats", Command::Stats { json: false, url: None }),
            ("sources --json", Command::Sources { json: true, url: None }),
            ("import x", Command::Import { file: Some("x".into()) }),
            ("backup x --replace", Command::Backup { file: "x".into(), replace: true }),
            ("erase --from=+1", Command::Erase { from: number("+1").unwrap().into(), dry_run: false }),
            (
                "erase --from US.ENT.13x",
                Command::Erase { from: Party::named("US.ENT.13x".to_owned()).unwrap(), dry_run: false },
            ),
            ("erase --dry-run --from +1", Command::Erase { from: number("+1").unwrap().into(), dry_run: true }),
        ] {
            assert_eq!(parse(line), command, "{line}");
        }
        for line in [
            "dance",
            "serve serve",
            "--loud",
            "serve -x",
            "forward",
            "forward http://x",
            "forward --to x",
            "forward --to https://x/",
            "forward --to http://x --cursor ..",
            "forward --to http://x --skipped /",
            "forward --to http://x --skip-after 0",
            "forward --to http://x --after -1",
            "forward --to http://x http://y http://z",
            "stats now",
            "sources http://x http://x",
            "health now",
            "health http://x http://x",
            "sign a b",
            "sign --scheme other",
            "sign --id a",
            "sign --timestamp 7",
            "sign --scheme standard --id a.b",
            "sign --scheme standard --timestamp now",
            "send --scheme",
            "send --url ftp://x",
            "send --from",
            "send now",
            "verify",
            "verify a b c",
            "export --since yesterday",
            "export --limit 5",
            "export --raw --q x",
            "import a b",
            "backup",
            "backup ..",
            "backup a b",
            "check database",
            "erase",
            "erase --dry-run",
            "erase +1",
            "erase --from us.13",
            "erase --from US.",
        ] {
            assert!(matches!(parse(line), Command::Misuse(_)), "{line}");
        }
    }

    #[test]
    fn a_draft_takes_what_is_given_and_fills_in_the_rest() {
        let Command::Send(draft) = parse("send --text hi --id m1") else { panic!("no message") };
        assert_eq!(draft, Draft { text: "hi".to_owned(), id: Some("m1".to_owned()), ..Draft::default() });
    }

    #[test]
    fn every_help_names_its_command_and_its_exit_statuses_within_120_columns() {
        for (name, help) in [
            ("serve", SERVE.as_str()),
            ("forward", FORWARD),
            ("stats", STATS),
            ("sources", SOURCES),
            ("health", HEALTH),
            ("sign", SIGN),
            ("send", SEND),
            ("verify", VERIFY),
            ("export", EXPORT),
            ("import", IMPORT),
            ("backup", BACKUP),
            ("check", CHECK),
            ("erase", ERASE),
        ] {
            assert!(help.starts_with(&format!("webhook-inbox {name}: ")), "{help}");
            assert!(help.contains("\nExit status: 0 "), "{help}");
            assert!(HELP.contains(&format!("  {name} ")) || name == "serve", "{name}");
            assert!(help.lines().all(|line| line.chars().count() <= 120), "{help}");
        }
    }
}
