//! The log-in of the page: the read token, once, for a session cookie that the page's script cannot read.
//!
//! A browser sends the cookie whichever site has made it ask. The cookie is therefore `SameSite=Strict`, and what the
//! browser says about the origin of a request is checked too, since another port of this host is the same site.
//!
//! There is no table of sessions: the cookie holds when it ends, and a tag over that. The key of the tag is random, so a
//! restart ends all sessions. Instances that share a database make it from a secret there and the token, so that each knows
//! the sessions of the others, and a new token ends them. A key made from the token alone would let a stolen cookie be used to guess a weak token.

use super::{cross_site, see_other};
use crate::access::{Denied, ReadToken};
use crate::answer::Answer;
use crate::closed_set::closed_set;
use crate::metrics::{Counters, metrics};
use crate::path::Path;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::Sha256;
use std::time::{SystemTime, UNIX_EPOCH};

/// How long a session lasts.
const SESSION_S: u64 = 12 * 3600;

/// The name of the cookie. By TLS it has a prefix, with which no other host of the domain can set it.
const COOKIE: &str = "inbox_session";
const SECURE_COOKIE: &str = "__Host-inbox_session";

/// What is signed before the end of a session: no other tag is made with this key.
const PURPOSE: &[u8] = b"inbox session";

/// What is signed for the key itself, where instances share a secret.
const KEY_PURPOSE: &[u8] = b"key of inbox sessions";

closed_set! {
    /// How an attempt to log in has ended.
    enum LogInResult;
    /// The label.
    #[expect(dead_code, reason = "the counter reads the words")]
    fn label() -> &'static str;
    Accepted = "accepted",
    WrongToken = "wrong_token",
    CrossSite = "cross_site",
}

metrics! {
    static LOG_INS: Counters<LogInResult, { LogInResult::ALL.len() }> =
        Counters::new("inbox_logins_total", "Attempts to log in at the page, by result.", "result");
}

/// The log-in, where `READ_TOKEN` is set.
pub struct LogIn {
    token: ReadToken,
    key: [u8; 32],
}

/// A form that a browser has posted.
#[derive(Clone, Copy)]
pub struct Form<'a> {
    /// The header fields.
    pub fields: &'a [(&'a str, &'a str)],
    /// `Host`.
    pub host: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

impl LogIn {
    /// With a key made from the secret that the instances share. Without one the key is random, which fails when the kernel
    /// has no random bytes.
    pub fn new(token: ReadToken, shared: Option<&[u8]>) -> std::io::Result<LogIn> {
        let key = match shared {
            Some(shared) => {
                hmac(shared).chain_update(KEY_PURPOSE).chain_update(token.tag()).finalize().into_bytes().into()
            }
            None => {
                let mut key = [0; 32];
                let filled = getrandom(&mut key, GetRandomFlags::empty())?;
                if filled < key.len() {
                    return Err(std::io::Error::other("too few random bytes"));
                }
                key
            }
        };
        Ok(LogIn { token, key })
    }

    /// POST /inbox/login: leads back to the page, with a session if the token is right.
    pub fn log_in(&self, form: Form<'_>) -> Answer {
        if !form.is_of_this_page() {
            LOG_INS.count(LogInResult::CrossSite);
            return cross_site().into();
        }
        let given = form_urlencoded::parse(form.body).find(|(name, _)| name == "token");
        if !given.is_some_and(|(_, token)| self.token.is(token.trim().as_bytes())) {
            LOG_INS.count(LogInResult::WrongToken);
            let reply = see_other(&format!("{}#wrong", Path::Inbox.label()));
            return Answer { reason: Some("wrong read token".to_owned()), ..reply.into() };
        }
        LOG_INS.count(LogInResult::Accepted);
        let cookie = self.cookie(now_s() + SESSION_S);
        see_other(Path::Inbox.label()).with("Set-Cookie", form.set_cookie(&cookie, SESSION_S)).into()
    }

    /// POST /inbox/logout: has the browser forget the session.
    pub fn log_out(&self, form: Form<'_>) -> Answer {
        if !form.is_of_this_page() {
            return cross_site().into();
        }
        see_other(Path::Inbox.label()).with("Set-Cookie", form.set_cookie("", 0)).into()
    }

    /// Whether a read with these fields, and without a token, may be answered.
    pub fn check(&self, fields: &[(&str, &str)]) -> Result<(), Denied> {
        let session = cookies(fields).any(|(name, value)| {
            (name == COOKIE || name == SECURE_COOKIE) && self.ends_s(value).is_some_and(|end_s| end_s > now_s())
        });
        match (session, site(fields)) {
            (false, _) => Err(Denied::Token),
            (true, Some("cross-site" | "same-site")) => Err(Denied::CrossSite),
            (true, _) => Ok(()),
        }
    }

    /// The value of the cookie: when the session ends, seconds since 1970, and the tag over it.
    fn cookie(&self, end_s: u64) -> String {
        let end = end_s.to_be_bytes();
        URL_SAFE_NO_PAD.encode([&end[..], &self.tag(end).finalize().into_bytes()].concat())
    }

    /// When a session ends, if the cookie was made with this key.
    fn ends_s(&self, cookie: &str) -> Option<u64> {
        let bytes = URL_SAFE_NO_PAD.decode(cookie).ok()?;
        let (end, tag) = bytes.split_first_chunk::<8>()?;
        self.tag(*end).verify_slice(tag).ok()?;
        Some(u64::from_be_bytes(*end))
    }

    fn tag(&self, end: [u8; 8]) -> Hmac<Sha256> {
        hmac(&self.key).chain_update(PURPOSE).chain_update(end)
    }
}

fn hmac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

impl Form<'_> {
    /// Whether the browser says that this page has posted it. Browsers say so by `Sec-Fetch-Site` to this machine and by
    /// TLS, and otherwise by `Origin` alone (<https://www.w3.org/TR/fetch-metadata/>).
    fn is_of_this_page(self) -> bool {
        match site(self.fields) {
            Some(site) => matches!(site, "same-origin" | "none"),
            None => {
                let origin = field(self.fields, "Origin").and_then(|origin| origin.split_once("://"));
                origin.is_some_and(|(_, origin)| Some(origin) == self.host)
            }
        }
    }

    fn set_cookie(self, value: &str, age_s: u64) -> String {
        // The gate passes it on only from a trusted proxy.
        let secure = field(self.fields, "X-Forwarded-Proto") == Some("https");
        let (name, secure) = if secure { (SECURE_COOKIE, "; Secure") } else { (COOKIE, "") };
        format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age_s}{secure}")
    }
}

fn site<'a>(fields: &[(&str, &'a str)]) -> Option<&'a str> {
    field(fields, "Sec-Fetch-Site")
}

fn field<'a>(fields: &[(&str, &'a str)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
}

/// Name and value of each cookie.
fn cookies<'a>(fields: &[(&'a str, &'a str)]) -> impl Iterator<Item = (&'a str, &'a str)> {
    let all = fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("Cookie")).map(|(_, value)| *value);
    all.flat_map(|cookies| cookies.split(';')).filter_map(|cookie| cookie.trim().split_once('='))
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_in() -> LogIn {
        LogIn::new(ReadToken::new(b"token").unwrap(), None).unwrap()
    }

    fn check(log_in: &LogIn, cookie: &str, site: Option<&str>) -> Result<(), Denied> {
        let cookie = [("cookie", cookie)];
        let site = site.map(|site| ("Sec-Fetch-Site", site));
        log_in.check(&cookie.into_iter().chain(site).collect::<Vec<_>>())
    }

    #[test]
    fn a_session_is_a_cookie_of_this_key_that_has_not_ended() {
        let log_in = log_in();
        let (running, ended) = (log_in.cookie(now_s() + 60), log_in.cookie(now_s()));
        let mut changed = URL_SAFE_NO_PAD.decode(&running).unwrap();
        changed[7] ^= 1;
        for (cookie, right) in [
            (format!("inbox_session={running}"), true),
            (format!("a=b; __Host-inbox_session={running};c=d"), true),
            (format!("inbox_session=; inbox_session={running}"), true),
            (format!("inbox_session={ended}"), false),
            (format!("inbox_session={}", URL_SAFE_NO_PAD.encode(changed)), false),
            (format!("inbox_session={}", &running[..running.len() - 4]), false),
            (format!("other={running}"), false),
            ("inbox_session=".to_owned(), false),
            ("inbox_session=é".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(check(&log_in, &cookie, None).is_ok(), right, "{cookie}");
        }
        let restarted = self::log_in();
        assert_eq!(check(&restarted, &format!("inbox_session={running}"), None), Err(Denied::Token));
    }

    #[test]
    fn another_site_cannot_use_a_session() {
        let log_in = log_in();
        let cookie = format!("inbox_session={}", log_in.cookie(now_s() + 60));
        for (site, right) in [
            (None, Ok(())),
            (Some("same-origin"), Ok(())),
            (Some("none"), Ok(())),
            (Some("same-site"), Err(Denied::CrossSite)),
            (Some("cross-site"), Err(Denied::CrossSite)),
        ] {
            assert_eq!(check(&log_in, &cookie, site), right, "{site:?}");
        }
    }

    #[test]
    fn a_form_is_of_this_page_when_the_browser_says_so() {
        for (site, origin, right) in [
            (Some("same-origin"), None, true),
            (Some("none"), None, true),
            (Some("same-site"), Some("http://inbox:8000"), false),
            (Some("cross-site"), Some("http://inbox:8000"), false),
            (None, Some("http://inbox:8000"), true),
            (None, Some("http://inbox:8001"), false),
            (None, Some("http://inbox.attacker.example"), false),
            (None, Some("null"), false),
            (None, None, false),
        ] {
            let fields = [site.map(|site| ("Sec-Fetch-Site", site)), origin.map(|origin| ("Origin", origin))];
            let fields: Vec<_> = fields.into_iter().flatten().collect();
            let form = Form { fields: &fields, host: Some("inbox:8000"), body: b"" };
            assert_eq!(form.is_of_this_page(), right, "{site:?} {origin:?}");
        }
    }
}
