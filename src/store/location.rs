//! Which database it is: a URL, read once.

#[cfg(feature = "postgres")]
use crate::store::postgres;
use std::fmt;
use std::path::{Path, PathBuf};

/// The database that a URL names.
#[derive(Clone, Debug)]
pub enum Location {
    /// A file of this machine.
    Sqlite(PathBuf),
    /// A server of PostgreSQL, which several instances share.
    #[cfg(feature = "postgres")]
    Postgres(postgres::Url),
}

impl Location {
    /// Reads a URL. The fault says what is wrong with it and never quotes it, since it may hold a password.
    pub fn parse(url: &str) -> Result<Location, String> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Location::server(url);
        }
        file(url).map(Location::Sqlite).ok_or_else(|| {
            "which cannot be used. Set it to sqlite:////absolute/path.db, sqlite:///./relative/path.db, or \
             postgres://user:password@host/database"
                .to_owned()
        })
    }

    /// The file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Location::Sqlite(path) => Some(path),
            #[cfg(feature = "postgres")]
            Location::Postgres(_) => None,
        }
    }

    #[cfg(feature = "postgres")]
    fn server(url: &str) -> Result<Location, String> {
        postgres::Url::parse(url, without_password(url)).map(Location::Postgres)
    }

    #[cfg(not(feature = "postgres"))]
    fn server(_url: &str) -> Result<Location, String> {
        Err("which this program cannot use. Run webhook-inbox-postgres of the same release: it has PostgreSQL built in"
            .to_owned())
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Sqlite(path) => write!(f, "{}", path.display()),
            #[cfg(feature = "postgres")]
            Location::Postgres(url) => write!(f, "{url}"),
        }
    }
}

/// A URL as it may be shown: without the password, wherever it is. What follows an unescaped `@` or `:` in a password is
/// hidden too.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| *scheme != "sqlite") else {
        return url.to_owned();
    };
    let (address, query) = rest.split_once('?').map_or((rest, None), |(address, query)| (address, Some(query)));
    let address = match address.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((user, _)) => format!("{user}:***@{host}"),
            None => address.to_owned(),
        },
        None => address.to_owned(),
    };
    let hidden = |pair: &str| if pair.starts_with("password=") { "password=***".to_owned() } else { pair.to_owned() };
    let query = query.map(|query| format!("?{}", query.split('&').map(hidden).collect::<Vec<_>>().join("&")));
    format!("{scheme}://{address}{}", query.unwrap_or_default())
}

/// What comes after `sqlite:///` is a path, as in SQLAlchemy, which the original service used.
fn file(url: &str) -> Option<PathBuf> {
    let path = url.strip_prefix("sqlite:///")?;
    // In memory nothing is kept, and options (`?mode=…`) would be silently ignored.
    let names_a_file = !path.is_empty() && !path.ends_with('/') && path != ":memory:" && !path.contains(['?', '\0']);
    names_a_file.then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_sqlite_names_a_file() {
        for (url, path) in [
            ("sqlite:////data/app.db", Some("/data/app.db")),
            ("sqlite:///./inbox.db", Some("./inbox.db")),
            ("sqlite:///inbox.db", Some("inbox.db")),
            ("sqlite:///", None),
            ("sqlite://", None),
            ("sqlite:///:memory:", None),
            ("sqlite:////data/", None),
            ("sqlite:////data/app.db?mode=ro", None),
            ("postgresql://localhost/app", None),
            ("/data/app.db", None),
        ] {
            assert_eq!(file(url), path.map(PathBuf::from), "{url}");
        }
    }

    #[test]
    fn a_password_is_not_shown_wherever_it_is() {
        for (url, shown) in [
            ("postgres://inbox:secret@db:5432/inbox", "postgres://inbox:***@db:5432/inbox"),
            (
                "postgresql://inbox:se:cr@et@a,b/inbox?sslmode=require",
                "postgresql://inbox:***@a,b/inbox?sslmode=require",
            ),
            ("postgres://db/inbox?user=inbox&password=secret", "postgres://db/inbox?user=inbox&password=***"),
            ("postgres://inbox@db/inbox", "postgres://inbox@db/inbox"),
            ("mysql://inbox:secret@db/inbox", "mysql://inbox:***@db/inbox"),
            ("sqlite:////data/a:b@c.db", "sqlite:////data/a:b@c.db"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
