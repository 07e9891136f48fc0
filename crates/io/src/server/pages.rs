//! Pages of an application's own, beside the viewer's.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;

use crate::Error;
use crate::page::{headers, kind};

/// All files together. They are held in memory.
const MAX_BYTES: usize = 64 << 20;
/// Directories within directories.
const MAX_DEPTH: usize = 8;

/// Files by their path below `/app/`. Read once: what is not in here cannot be asked for.
pub(super) type Pages = BTreeMap<String, Bytes>;

/// Reads a directory.
pub(super) fn read(directory: &Path) -> Result<Pages, Error> {
    let mut pages = Pages::new();
    let mut left = MAX_BYTES;
    add(&mut pages, &mut left, directory, "", MAX_DEPTH)?;
    Ok(pages)
}

fn add(
    pages: &mut Pages,
    left: &mut usize,
    at: &Path,
    prefix: &str,
    depth: usize,
) -> Result<(), Error> {
    let failed = |path: &Path, detail: String| Error::State { path: path.to_owned(), detail };
    let unreadable = |error: std::io::Error| failed(at, error.to_string());
    for entry in std::fs::read_dir(at).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        // Hidden files are not meant for everybody; others have names that an address can hold.
        let name = path.file_name().and_then(|name| name.to_str()).filter(|n| !n.starts_with('.'));
        let Some(name) = name else { continue };
        let name = format!("{prefix}{name}");
        if path.is_dir() && depth > 0 {
            add(pages, left, &path, &format!("{name}/"), depth - 1)?;
        } else if path.is_file() {
            let content = std::fs::read(&path).map_err(|e| failed(&path, e.to_string()))?;
            *left = left.checked_sub(content.len()).ok_or_else(|| {
                let detail = format!("the pages are larger than {} MiB", MAX_BYTES >> 20);
                failed(&path, detail)
            })?;
            pages.insert(name, content.into());
        }
    }
    Ok(())
}

/// Serves them below `/app/`. A directory's `index.html` stands for the directory.
pub(super) fn add_to<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    pages: Option<Arc<Pages>>,
) -> Router<S> {
    let Some(pages) = pages else { return router };
    let root = Arc::clone(&pages);
    let answer = |pages: &Pages, path: &str| {
        let name = if path.is_empty() || path.ends_with('/') {
            format!("{path}index.html")
        } else {
            path.into()
        };
        match pages.get(&name) {
            Some(content) => (headers(kind(&name)), content.clone()).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    };
    router.route("/app/", get(move || async move { answer(&root, "") })).route(
        "/app/{*path}",
        get(move |axum::extract::Path(path): axum::extract::Path<String>| async move {
            answer(&pages, &path)
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_read_without_what_is_hidden() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("parts")).unwrap();
        for (name, text) in [("index.html", "<p>"), ("parts/a.js", "1"), (".secret", "x")] {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let pages = read(directory.path()).unwrap();
        assert_eq!(pages.keys().collect::<Vec<_>>(), ["index.html", "parts/a.js"]);
        assert!(matches!(read(&directory.path().join("nowhere")), Err(Error::State { .. })));
    }
}
