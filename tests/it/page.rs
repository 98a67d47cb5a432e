//! GET /inbox: the page for people, and what keeps it harmless whatever texts it shows.

use crate::harness::{Reply, Server};

/// The paths of the assets that the document names.
fn assets(document: &Reply) -> Vec<String> {
    let text = document.text();
    let mut paths: Vec<String> =
        text.split('"').filter(|part| part.starts_with("/inbox/") && part.contains('.')).map(str::to_owned).collect();
    paths.sort();
    paths.dedup();
    paths
}

#[test]
fn the_root_leads_to_the_page_and_the_page_to_its_assets() {
    let server = Server::start();
    let root = server.get("/");
    assert_eq!((root.status, root.field("Location")), (303, Some("/inbox")), "reply: {root:?}");
    let page = server.get("/inbox");
    assert_eq!(page.status, 200, "reply: {page:?}");
    assert_eq!(page.field("Content-Type"), Some("text/html; charset=utf-8"));
    let assets = assets(&page);
    assert_eq!(assets.len(), 3, "{assets:?}");
    for (asset, content_type) in
        [(".css", "text/css; charset=utf-8"), (".js", "text/javascript; charset=utf-8"), (".svg", "image/svg+xml")]
    {
        let path = assets.iter().find(|path| path.ends_with(asset)).unwrap_or_else(|| panic!("no {asset}: {assets:?}"));
        let reply = server.get(path);
        assert_eq!((reply.status, reply.field("Content-Type")), (200, Some(content_type)), "{path}\nreply: {reply:?}");
        assert_eq!(reply.field("Cache-Control"), Some("public, max-age=31536000, immutable"), "{path}");
    }
    assert_eq!(server.get("/inbox/0123456789abcdef.css").status, 404, "an asset of another version");
}

#[test]
fn the_page_is_never_cached_and_may_load_and_run_only_its_own_assets() {
    let server = Server::start();
    let page = server.get("/inbox");
    assert_eq!(page.field("Cache-Control"), Some("no-store"));
    assert_eq!(page.field("Cross-Origin-Opener-Policy"), Some("same-origin"));
    assert_eq!(page.field("Referrer-Policy"), Some("same-origin"));
    let policy = page.field("Content-Security-Policy").unwrap_or_default();
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ] {
        assert!(policy.split("; ").any(|known| known == rule), "{rule} is not in {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
}

#[test]
fn the_page_holds_no_message_so_it_needs_no_read_token() {
    let server = Server::with(&[("READ_TOKEN", "0123456789abcdef")]);
    let page = server.get("/inbox");
    assert_eq!(page.status, 200, "reply: {page:?}");
    for path in assets(&page) {
        assert_eq!(server.get(&path).status, 200, "{path}");
    }
    assert_eq!(server.get("/arrivals").status, 401);
}

#[test]
fn where_the_page_is_off_nothing_of_it_is_there() {
    let on = Server::start();
    let off = Server::with(&[("PAGE", "off")]);
    for path in ["/".to_owned(), "/inbox".to_owned()].into_iter().chain(assets(&on.get("/inbox"))) {
        let reply = off.get(&path);
        assert_eq!((reply.status, reply.text()), (404, r#"{"detail":"Not Found"}"#.to_owned()), "{path}");
    }
}
