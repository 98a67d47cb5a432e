//! The closed set of paths that this service answers: what each is called, which methods it has, and who may ask.

use crate::closed_set::closed_set;
use crate::reply::{Reply, Status};

closed_set! {
    /// A path of this service.
    #[expect(missing_docs, reason = "each is the path of its label, where {seq}, {request_id} and {asset} stand for others")]
    pub enum Path;
    /// The path itself, which is the `path` label of `http_requests_total` too.
    pub fn label() -> &'static str;
    Webhook = "/webhook",
    WebhookMeta = "/webhook/meta",
    Messages = "/messages",
    Arrivals = "/arrivals",
    Arrival = "/arrivals/{seq}",
    ArrivalDelivery = "/arrivals/{seq}/delivery",
    Statuses = "/statuses",
    Stats = "/stats",
    History = "/stats/history",
    Sources = "/sources",
    Refusals = "/refusals",
    Refusal = "/refusals/{request_id}",
    Live = "/health/live",
    Ready = "/health/ready",
    Metrics = "/metrics",
    OpenApi = "/openapi.json",
    Root = "/",
    Inbox = "/inbox",
    InboxAsset = "/inbox/{asset}",
    LogIn = "/inbox/login",
    LogOut = "/inbox/logout",
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
    pub fn of(path: &str) -> Option<Path> {
        if arrival(path).is_some() {
            return Some(if path.ends_with(DELIVERY) { Path::ArrivalDelivery } else { Path::Arrival });
        }
        if asset(path).is_some() {
            return Some(Path::InboxAsset);
        }
        if refusal(path).is_some() {
            return Some(Path::Refusal);
        }
        Path::ALL.into_iter().find(|known| known.label() == path && !path.contains('{'))
    }

    /// Where a request leads, or what it is answered when its path does not exist or does not have the method.
    pub fn route(method: &str, path: &str) -> Result<Path, Reply> {
        let path = Path::of(path).ok_or_else(|| Reply::detail(Status::NotFound, "Not Found"))?;
        let methods = path.methods();
        if methods.contains(&method) {
            return Ok(path);
        }
        let reply = Reply::detail(Status::MethodNotAllowed, "Method Not Allowed");
        Err(reply.with("Allow", methods.join(", "))) // RFC 9110 section 10.2.1
    }

    fn methods(self) -> &'static [&'static str] {
        match self {
            Path::Webhook | Path::LogIn | Path::LogOut => &["POST"],
            Path::WebhookMeta => &["GET", "HEAD", "POST"],
            Path::Messages
            | Path::Arrivals
            | Path::Arrival
            | Path::ArrivalDelivery
            | Path::Statuses
            | Path::Stats
            | Path::History
            | Path::Sources
            | Path::Refusals
            | Path::Refusal
            | Path::Live
            | Path::Ready
            | Path::Metrics
            | Path::OpenApi
            | Path::Root
            | Path::Inbox
            | Path::InboxAsset => &["GET", "HEAD"],
        }
    }

    /// Whether a request to it with this method is a delivery, which needs a length and waits for its COMMIT.
    pub fn is_delivery(self, method: &str) -> bool {
        matches!(self, Path::Webhook | Path::WebhookMeta) && method == "POST"
    }

    /// Who may ask for it.
    pub fn audience(self) -> Audience {
        match self {
            Path::Webhook | Path::WebhookMeta | Path::Live | Path::Ready => Audience::Everybody,
            Path::Root | Path::Inbox | Path::InboxAsset | Path::LogIn | Path::LogOut => Audience::Everybody,
            Path::OpenApi => Audience::SameHost,
            Path::Messages | Path::Arrivals | Path::Arrival | Path::ArrivalDelivery => Audience::Readers,
            Path::Statuses | Path::Stats | Path::History | Path::Sources | Path::Metrics => Audience::Readers,
            Path::Refusals | Path::Refusal => Audience::Readers,
        }
    }
}

const DELIVERY: &str = "/delivery";

/// The seq that a path of one message, or of its delivery, names: in decimal, from 1 on, without zeros in front.
pub fn arrival(path: &str) -> Option<i64> {
    let digits = path.strip_prefix("/arrivals/")?;
    let digits = digits.strip_suffix(DELIVERY).unwrap_or(digits);
    let right = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    if right { digits.parse().ok() } else { None }
}

/// The id of a request that a path of one refusal names: whatever is behind the last slash.
pub fn refusal(path: &str) -> Option<&str> {
    path.strip_prefix("/refusals/").filter(|id| !id.is_empty() && !id.contains('/'))
}

/// The name of the file that a path of the page's assets names: 16 hex digits, a full stop, and its type.
pub fn asset(path: &str) -> Option<&str> {
    let name = path.strip_prefix("/inbox/")?;
    let (hash, _) = name.split_once('.').filter(|(_, kind)| matches!(*kind, "css" | "js" | "svg"))?;
    let is_hash = hash.len() == 16 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_hash.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_a_number_is_one_path_of_the_set() {
        for (path, of) in [
            ("/arrivals", Some(Path::Arrivals)),
            ("/arrivals/1", Some(Path::Arrival)),
            ("/arrivals/9223372036854775807", Some(Path::Arrival)),
            ("/arrivals/9223372036854775808", None),
            ("/arrivals/", None),
            ("/arrivals/0", None),
            ("/arrivals/01", None),
            ("/arrivals/+1", None),
            ("/arrivals/-1", None),
            ("/arrivals/1/", None),
            ("/arrivals/1/delivery", Some(Path::ArrivalDelivery)),
            ("/arrivals/0/delivery", None),
            ("/arrivals//delivery", None),
            ("/arrivals/1/delivery/delivery", None),
            ("/arrivals/{seq}/delivery", None),
            ("/arrivals/{seq}", None),
            ("/inbox/0123456789abcdef.css", Some(Path::InboxAsset)),
            ("/inbox/0123456789abcdef.html", None),
            ("/inbox/0123456789ABCDEF.css", None),
            ("/inbox/0123456789abcde.css", None),
            ("/inbox/{asset}", None),
            ("/inbox/", None),
            ("/inbox/login", Some(Path::LogIn)),
            ("/refusals", Some(Path::Refusals)),
            ("/refusals/00000000-0000-4000-8000-000000000000", Some(Path::Refusal)),
            ("/refusals/x", Some(Path::Refusal)),
            ("/refusals/", None),
            ("/refusals/x/", None),
        ] {
            assert_eq!(Path::of(path), of, "{path}");
        }
    }
}
