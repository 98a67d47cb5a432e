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

const TOKEN: &str = "token-of-the-readers-0123";

fn post(server: &Server, path: &str, fields: &[(&str, &str)], body: &str) -> Reply {
    server.request("POST", path, fields, body.as_bytes())
}

/// The cookie of a session, as a browser sends it back.
fn session(server: &Server) -> String {
    let reply = post(server, "/inbox/login", &[("Sec-Fetch-Site", "same-origin")], &format!("token={TOKEN}"));
    assert_eq!((reply.status, reply.field("Location")), (303, Some("/inbox")), "reply: {reply:?}");
    let cookie = reply.field("Set-Cookie").unwrap_or_default();
    for attribute in ["; HttpOnly", "; SameSite=Strict", "; Path=/", "; Max-Age=43200"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains(TOKEN), "{cookie}");
    cookie.split(';').next().unwrap_or_default().to_owned()
}

#[test]
fn the_token_buys_a_session_with_which_a_browser_may_read() {
    let server = Server::with(&[("READ_TOKEN", TOKEN)]);
    assert_eq!(server.get("/inbox").status, 200, "the document itself holds no data");
    assert_eq!(server.get("/messages").status, 401);
    let cookie = session(&server);
    let read = |fields: &[(&str, &str)]| server.request("GET", "/messages", fields, b"").status;
    assert_eq!(read(&[("Cookie", &cookie), ("Sec-Fetch-Site", "same-origin")]), 200);
    assert_eq!(read(&[("Cookie", &cookie)]), 200);
    assert_eq!(read(&[("Cookie", &cookie), ("Sec-Fetch-Site", "same-site")]), 403, "another port of this host");
    assert_eq!(read(&[("Cookie", &cookie), ("Sec-Fetch-Site", "cross-site")]), 403);
    assert_eq!(read(&[("Cookie", &cookie), ("Authorization", "Bearer wrong")]), 401, "a token is not rescued");
    assert_eq!(read(&[("Cookie", &format!("{cookie}x"))]), 401);
    let out = post(&server, "/inbox/logout", &[("Sec-Fetch-Site", "same-origin"), ("Cookie", &cookie)], "");
    assert_eq!(out.status, 303);
    assert!(out.field("Set-Cookie").is_some_and(|cookie| cookie.contains("Max-Age=0")), "reply: {out:?}");
    let restarted = Server::with(&[("READ_TOKEN", TOKEN)]);
    assert_eq!(restarted.request("GET", "/messages", &[("Cookie", &cookie)], b"").status, 401, "a key of its own");
}

#[test]
fn a_wrong_token_and_another_site_get_no_session() {
    let server = Server::with(&[("READ_TOKEN", TOKEN)]);
    let wrong = post(&server, "/inbox/login", &[("Sec-Fetch-Site", "same-origin")], "token=wrong");
    assert_eq!((wrong.status, wrong.field("Location")), (303, Some("/inbox#wrong")));
    assert_eq!(wrong.field("Set-Cookie"), None);
    let line = server.log_line(&wrong);
    assert_eq!((&line["level"], &line["reason"]), (&"WARNING".into(), &"wrong read token".into()), "{line}");
    let right = format!("token={TOKEN}");
    for site in [&[("Sec-Fetch-Site", "cross-site")][..], &[("Origin", "http://attacker.example")], &[]] {
        let reply = post(&server, "/inbox/login", site, &right);
        assert_eq!((reply.status, reply.field("Set-Cookie")), (403, None), "{site:?}");
    }
    let metrics = server.request("GET", "/metrics", &[("Authorization", &format!("Bearer {TOKEN}"))], b"").text();
    for count in ["{result=\"accepted\"} 0", "{result=\"wrong_token\"} 1", "{result=\"cross_site\"} 3"] {
        assert!(metrics.contains(&format!("inbox_logins_total{count}\n")), "{metrics}");
    }
    let open = Server::start();
    assert_eq!(
        post(&open, "/inbox/login", &[("Sec-Fetch-Site", "same-origin")], &right).status,
        404,
        "nothing to log in to"
    );
}

#[test]
fn the_cookie_is_secure_when_a_trusted_proxy_says_that_the_client_came_by_tls() {
    let fields = [("Sec-Fetch-Site", "same-origin"), ("X-Forwarded-Proto", "https")];
    for (trusted, secure) in [("127.0.0.1", true), ("10.0.0.1", false)] {
        let server = Server::with(&[("READ_TOKEN", TOKEN), ("TRUSTED_PROXIES", trusted)]);
        let reply = post(&server, "/inbox/login", &fields, &format!("token={TOKEN}"));
        let cookie = reply.field("Set-Cookie").unwrap_or_default();
        assert_eq!(cookie.starts_with("__Host-inbox_session=") && cookie.ends_with("; Secure"), secure, "{cookie}");
    }
}
