//! Whether the connection to the server is encrypted, as `sslmode` in the URL says, and whom it trusts.
//!
//! With TLS the server is always authenticated: its certificate has to name the host, and to come from an authority that
//! `sslrootcert` names or, without it, from one that browsers trust. libpq would accept any server for `require`; that keeps
//! out no attacker who can change what goes over the network. Without an `sslmode` nothing is encrypted.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use tokio_postgres_rustls::MakeRustlsConnect;

/// Takes from a URL what is about TLS. The fault completes a sentence about the URL.
pub(super) fn of(url: &str) -> Result<(String, Option<MakeRustlsConnect>), String> {
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut others, mut mode, mut authorities) = (Vec::new(), "disable".to_owned(), None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded =
            || form_urlencoded::parse(format!("v={value}").as_bytes()).next().map(|(_, value)| value.into_owned());
        match name {
            "sslmode" => mode = value.to_owned(),
            "sslrootcert" => authorities = decoded(),
            _ => others.push(pair),
        }
    }
    let encrypted = match mode.as_str() {
        "disable" => false,
        "require" | "verify-ca" | "verify-full" => true,
        _ => return Err("whose sslmode is not known. Set it to disable, require or verify-full".to_owned()),
    };
    let tls = encrypted.then(|| config(authorities.as_deref())).transpose()?;
    others.insert(0, if encrypted { "sslmode=require" } else { "sslmode=disable" });
    Ok((format!("{address}?{}", others.join("&")), tls))
}

fn config(authorities: Option<&str>) -> Result<MakeRustlsConnect, String> {
    let mut roots = RootCertStore::empty();
    match authorities {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let unusable =
                |error: String| format!("whose sslrootcert {path} cannot be used: {error}. Name a file in PEM");
            let certificates = CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
                roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(unusable("there is no certificate in it".to_owned()));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.expect("ring has the suites of both versions");
    Ok(MakeRustlsConnect::new(config.with_root_certificates(roots).with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_tls_is_taken_out_of_the_url() {
        for (url, left, encrypted) in [
            ("postgres://a@b/c", "postgres://a@b/c?sslmode=disable", false),
            ("postgres://a@b/c?sslmode=disable", "postgres://a@b/c?sslmode=disable", false),
            ("postgres://a@b/c?x=1&sslmode=require&y=2", "postgres://a@b/c?sslmode=require&x=1&y=2", true),
            ("postgres://a@b/c?sslmode=verify-full", "postgres://a@b/c?sslmode=require", true),
        ] {
            let (rest, tls) = of(url).unwrap();
            assert_eq!((rest.as_str(), tls.is_some()), (left, encrypted), "{url}");
        }
        for (url, said) in [
            ("postgres://a@b/c?sslmode=prefer", "sslmode is not known"),
            ("postgres://a@b/c?sslmode=require&sslrootcert=/nowhere%2Fca.pem", "/nowhere/ca.pem cannot be used"),
            ("postgres://a@b/c?sslmode=require&sslrootcert=/dev/null", "no certificate in it"),
        ] {
            let Err(fault) = of(url) else { panic!("{url} is taken") };
            assert!(fault.contains(said), "{fault}");
        }
    }
}
