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
    ($($path:literal $file:literal $type:literal,)*) => {
        /// Path, content type, content.
        const FILES: &[(&str, &str, &[u8])] =
            &[$(($path, $type, include_bytes!(concat!("../../../web/", $file)))),*];
    };
}

files! {
    "/" "index.html" "text/html; charset=utf-8",
    "/style.css" "style.css" "text/css; charset=utf-8",
    "/icon.svg" "icon.svg" "image/svg+xml",
    "/binding.js" "binding.js" "text/javascript",
    "/bytes.js" "bytes.js" "text/javascript",
    "/clock.js" "clock.js" "text/javascript",
    "/control.js" "control.js" "text/javascript",
    "/cpace.js" "cpace.js" "text/javascript",
    "/failure.js" "failure.js" "text/javascript",
    "/figures.js" "figures.js" "text/javascript",
    "/invite.js" "invite.js" "text/javascript",
    "/link.js" "link.js" "text/javascript",
    "/noise.js" "noise.js" "text/javascript",
    "/page.js" "page.js" "text/javascript",
    "/sealed.js" "sealed.js" "text/javascript",
    "/server.js" "server.js" "text/javascript",
    "/session.js" "session.js" "text/javascript",
}

/// Adds the page and its parts to a server's routes.
pub(crate) fn add_to<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    FILES.iter().fold(router, |router, &(path, kind, content)| {
        router.route(path, get(move || async move { (headers(kind), content).into_response() }))
    })
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
        for (path, _, content) in FILES.iter().filter(|(path, ..)| path.ends_with(".js")) {
            let source = str::from_utf8(content).expect("sources are text");
            for line in source.lines().filter(|line| !line.starts_with(" *")) {
                let Some((_, module)) = line.split_once("from \"./") else { continue };
                let module = module.trim_end_matches("\";");
                let served = FILES.iter().any(|(path, ..)| &path[1..] == module);
                assert!(served, "{path} imports {module}");
            }
        }
    }

    #[test]
    fn the_page_is_light() {
        let weight: usize = FILES.iter().map(|(.., content)| content.len()).sum();
        println!("The page weighs {weight} bytes.");
        assert!(weight < 100_000);
    }
}
