//! The page for people, at /inbox: a document, its style, its script and its icon, embedded into the program.
//!
//! The document is the same for every client and holds no data: its script reads the endpoints as any client does, so
//! the rules for reads hold. Strangers write the texts that it shows. The policy of the document therefore allows only the
//! assets of this service, and no string becomes markup or script (Trusted Types).

mod session;

pub use session::{Form, LogIn, METRICS};

use crate::reply::{Reply, Status};
use sha2::{Digest, Sha256};

/// What the browser may load and do. There is no inline style or script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

const DOCUMENT: &str = include_str!("page/page.html");

/// Name, type and bytes of each.
const ASSETS: [(&str, &str, &[u8]); 3] = [
    ("page.css", "text/css; charset=utf-8", include_bytes!("page/page.css")),
    ("page.js", "text/javascript; charset=utf-8", include_bytes!("page/page.js")),
    ("icon.svg", "image/svg+xml", include_bytes!("page/icon.svg")),
];

/// The document with the names of its assets, each of which contains a hash: an asset never changes under its name.
pub struct Page {
    document: String,
    names: [String; ASSETS.len()],
    /// None: reading needs no token.
    pub log_in: Option<LogIn>,
}

impl Page {
    /// With a log-in, the document offers to log out.
    pub fn new(log_in: Option<LogIn>) -> Page {
        let names = ASSETS.map(|(name, _, bytes)| {
            let kind = name.rsplit('.').next().unwrap_or_default();
            format!("{}.{kind}", &hex::encode(Sha256::digest(bytes))[..16])
        });
        let document = DOCUMENT.replace("{log-in}", if log_in.is_some() { "yes" } else { "no" });
        let document = ASSETS.iter().zip(&names).fold(document, |document, ((name, ..), hashed)| {
            document.replace(&format!("{{{name}}}"), &format!("/inbox/{hashed}"))
        });
        Page { document, names, log_in }
    }

    /// GET /inbox.
    pub fn document(&self) -> Reply {
        let reply = reply("text/html; charset=utf-8", self.document.as_bytes());
        reply
            .with("Cache-Control", "no-store".to_owned())
            .with("Content-Security-Policy", POLICY.to_owned())
            .with("Cross-Origin-Opener-Policy", "same-origin".to_owned())
            // Not no-referrer: a browser would send the log-in form with `Origin: null`.
            .with("Referrer-Policy", "same-origin".to_owned())
    }

    /// GET /inbox/{asset}, if there is one of that name.
    pub fn asset(&self, name: &str) -> Option<Reply> {
        let index = self.names.iter().position(|known| known == name)?;
        let (_, content_type, bytes) = ASSETS[index];
        Some(reply(content_type, bytes).with("Cache-Control", "public, max-age=31536000, immutable".to_owned()))
    }
}

/// 303: the browser asks for that path with GET.
pub fn see_other(path: &str) -> Reply {
    let reply = Reply { status: Status::SeeOther, ..reply("text/plain; charset=utf-8", b"") };
    reply.with("Location", path.to_owned()).with("Cache-Control", "no-store".to_owned())
}

/// 403: another site has made the browser ask.
pub fn cross_site() -> Reply {
    Reply::detail(Status::Forbidden, "another site has made this request; open the page itself")
}

fn reply(content_type: &'static str, body: &[u8]) -> Reply {
    Reply { status: Status::Ok, content_type, headers: Vec::new(), body: body.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_and_assets_are_small_enough_to_be_read() {
        let assets: usize = ASSETS.iter().map(|(.., bytes)| bytes.len()).sum();
        assert!(DOCUMENT.len() + assets <= 40_000, "{} bytes", DOCUMENT.len() + assets);
    }

    #[test]
    fn the_document_names_each_asset_by_a_path_that_is_served() {
        let page = Page::new(None);
        for name in &page.names {
            assert!(page.document.contains(&format!("\"/inbox/{name}\"")), "{name}");
            assert!(page.asset(name).is_some(), "{name}");
        }
        assert!(!page.document.contains('{'), "a name was not filled in");
        assert!(page.asset("0123456789abcdef.css").is_none());
    }
}
