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
    (viewer: $($viewer:literal)*, later: $($more:literal)*) => {
        /// Name and content: first what a viewer loads, then what is loaded when it is needed.
        const FILES: &[(&str, &[u8])] = &[$(embedded!($viewer),)* $(embedded!($more),)*];
        #[cfg(test)]
        const OF_VIEWER: usize = [$($viewer),*].len();
    };
}

macro_rules! embedded {
    ($name:literal) => {
        ($name, include_bytes!(concat!("../../../web/", $name)))
    };
}

files! {
    viewer:
    "index.html"
    "style.css"
    "icon.svg"
    "binding.js"
    "bytes.js"
    "clock.js"
    "control.js"
    "entry.js"
    "envelope.js"
    "events.js"
    "failure.js"
    "figures.js"
    "invite.js"
    "link.js"
    "noise.js"
    "page.js"
    "room.js"
    "sealed.js"
    "server.js"
    "session.js",
    // For passwords, streams besides the video, and to tell what went wrong.
    later:
    "cbor.js"
    "cpace.js"
    "fragments.js"
    "log.js"
    "map.js"
    "password.js"
    "permissions.js"
    "publisher.js"
    "queue.js"
    "reliable.js"
    "rtsmp.js"
    "streams.js"
    "subscriber.js"
    "vector.js"
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
pub(crate) fn kind(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("png") => "image/png",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    }
}

pub(crate) fn headers(kind: &'static str) -> HeaderMap {
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

    /// The modules that a source names behind these words, but for its comments.
    fn named<'a>(source: &'a str, words: &str) -> Vec<&'a str> {
        let code = source.lines().filter(|line| !line.trim_start().starts_with(['*', '/']));
        code.flat_map(|line| line.split(words).skip(1))
            .filter_map(|rest| rest.split('"').next())
            .collect()
    }

    fn is_served(module: &str, files: &[(&str, &[u8])]) -> bool {
        files.iter().any(|(name, _)| *name == module)
    }

    #[test]
    fn every_module_that_is_imported_is_served() {
        let mut on_demand = 0;
        for (at, (name, content)) in FILES.iter().enumerate() {
            let source = str::from_utf8(content).expect("sources are text");
            let loaded = if at < OF_VIEWER { &FILES[..OF_VIEWER] } else { FILES };
            for module in named(source, "from \"./") {
                assert!(is_served(module, loaded), "{name} imports {module}");
            }
            for module in named(source, "await import(\"./") {
                assert!(is_served(module, FILES), "{name} imports {module}");
                on_demand += 1;
            }
        }
        assert_eq!(on_demand, 3, "passwords, streams, and what went wrong");
    }

    #[test]
    fn whoever_serves_the_page_elsewhere_is_told_the_same_policy() {
        assert!(include_str!("../../../SECURITY.md").contains(POLICY));
    }

    #[test]
    fn the_page_is_light() {
        let weight = |files: &[(&str, &[u8])]| files.iter().map(|file| file.1.len()).sum::<usize>();
        let (viewer, later) = FILES.split_at(OF_VIEWER);
        let (viewer, later) = (weight(viewer), weight(later));
        println!("A viewer loads {viewer} bytes, and {later} more where they are needed.");
        assert!(viewer < 100_000);
    }
}
