//! The closed set of paths that this service answers: what each is called, which methods it has, and who may ask.

use crate::closed_set::closed_set;

closed_set! {
    /// A path of this service, or any other.
    #[expect(missing_docs, reason = "each is the path of its label")]
    pub enum Path;
    /// The path itself, or `other`: the `path` label of `http_requests_total`.
    pub fn label() -> &'static str;
    Webhook = "/webhook",
    Messages = "/messages",
    Stats = "/stats",
    Live = "/health/live",
    Ready = "/health/ready",
    Metrics = "/metrics",
    OpenApi = "/openapi.json",
    Other = "other",
}

/// Who may ask for a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Everybody: nothing is shown that is worth hiding, or the request proves itself by a signature.
    Everybody,
    /// Everybody who asks under a name of this service.
    SameHost,
    /// Readers of messages and figures.
    Readers,
}

impl Path {
    /// The path of a request, which matches exactly: without its query, and in this spelling.
    pub fn of(path: &str) -> Path {
        Path::ALL.into_iter().find(|known| *known != Path::Other && known.label() == path).unwrap_or(Path::Other)
    }

    /// The methods of the path, as the field `Allow` lists them (RFC 9110 section 10.2.1).
    pub fn methods(self) -> &'static [&'static str] {
        match self {
            Path::Webhook => &["POST"],
            Path::Messages | Path::Stats | Path::Live | Path::Ready | Path::Metrics | Path::OpenApi => &["GET", "HEAD"],
            Path::Other => &[],
        }
    }

    /// Who may ask for it.
    pub fn audience(self) -> Audience {
        match self {
            Path::Webhook | Path::Live | Path::Ready | Path::Other => Audience::Everybody,
            Path::OpenApi => Audience::SameHost,
            Path::Messages | Path::Stats | Path::Metrics => Audience::Readers,
        }
    }
}
