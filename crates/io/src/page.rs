//! The browser's viewer: the files of `web/`, as they are.

use axum::Router;
use axum::http::HeaderMap;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::response::IntoResponse;
use axum::routing::get;

/// Only what this server serves, and no connection to another one.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

macro_rules! files {
    ($($name:literal,)*) => {
        /// Name and content.
        const FILES: &[(&str, &[u8])] =
            &[$(($name, include_bytes!(concat!("../../../web/", $name)))),*];
    };
}

files! {
    "index.html",
    "style.css",
    "icon.svg",
    "binding.js",
    "bytes.js",
    "clock.js",
    "control.js",
    "cpace.js",
    "entry.js",
    "envelope.js",
    "failure.js",
    "figures.js",
    "invite.js",
    "link.js",
    "noise.js",
    "page.js",
    "sealed.js",
    "server.js",
    "session.js",
}

/// The files of the browser's page, by name, in their order.
///
/// ```
/// assert_eq!(lllsi_io::page_files()[0].0, "index.html");
/// ```
pub fn files() -> &'static [(&'static str, &'static [u8])] {
    FILES
}

/// Adds the page and its parts to a server's routes.
pub(crate) fn add_to<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    FILES.iter().fold(router, |router, &(name, content)| {
        let path = if name == "index.html" { "/".to_owned() } else { format!("/{name}") };
        let answer = move || async move { (headers(kind(name)), content).into_response() };
        router.route(&path, get(answer))
    })
}

/// The content type of a file.
fn kind(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/javascript; charset=utf-8",
    }
}

fn headers(kind: &'static str) -> HeaderMap {
    [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        // After an update nobody is to run half of the old page.
        (CACHE_CONTROL, "no-store"),
        // Alone in its process, and with precise clocks.
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ]
    .map(|(name, value)| (name, HeaderValue::from_static(value)))
    .into_iter()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_that_is_imported_is_served() {
        for (name, content) in FILES.iter().filter(|(name, _)| name.ends_with(".js")) {
            let source = str::from_utf8(content).expect("sources are text");
            for line in source.lines().filter(|line| !line.starts_with(" *")) {
                let Some((_, module)) = line.split_once("from \"./") else { continue };
                let module = module.trim_end_matches("\";");
                let served = FILES.iter().any(|(name, _)| *name == module);
                assert!(served, "{name} imports {module}");
            }
        }
    }

    #[test]
    fn whoever_serves_the_page_elsewhere_is_told_the_same_policy() {
        assert!(include_str!("../../../SECURITY.md").contains(POLICY));
    }

    #[test]
    fn the_page_is_light() {
        let weight: usize = FILES.iter().map(|(_, content)| content.len()).sum();
        println!("The page weighs {weight} bytes.");
        assert!(weight < 100_000);
    }
}
