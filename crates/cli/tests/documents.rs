//! What the documents point at is there.

use std::fs;
use std::path::{Path, PathBuf};

/// All documents, as paths from here.
fn documents() -> Vec<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let found = [top.clone(), top.join("docs")].into_iter().flat_map(|directory| {
        let entries = fs::read_dir(directory).expect("a directory");
        entries.map(|entry| entry.expect("it can be read").path())
    });
    let documents: Vec<_> =
        found.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    assert!(documents.len() > 8, "{documents:?}");
    documents
}

/// The links of a document that lead to files: their text, and the file.
fn links(document: &Path) -> Vec<(String, PathBuf)> {
    let text = fs::read_to_string(document).expect("a text");
    let parts: Vec<_> = text.split("](").collect();
    let pairs = parts.windows(2).filter_map(|pair| {
        let name = pair[0].rsplit('[').next()?;
        let target = pair[1].split([')', '#']).next()?;
        let is_file = !target.is_empty() && !target.contains("://") && !target.contains(' ');
        is_file.then(|| (name.to_owned(), document.with_file_name(target)))
    });
    pairs.collect()
}

#[test]
fn links_lead_to_files() {
    for document in documents() {
        for (name, file) in links(&document) {
            assert!(file.exists(), "{}: {name} leads to {}", document.display(), file.display());
        }
    }
}

#[test]
fn each_of_the_bounds_has_a_test_that_goes_past_it() {
    let document = documents().into_iter().find(|path| path.ends_with("docs/bounds.md"));
    let document = document.expect("it is there");
    let text = fs::read_to_string(&document).expect("a text");
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| What |"));
    let tests: Vec<_> = links(&document)
        .into_iter()
        .filter(|(_, file)| file.extension().is_some_and(|end| end == "rs"))
        .collect();
    assert!(rows.count() == tests.len() && tests.len() > 40, "one test for each row");
    for (name, file) in tests {
        let source = fs::read_to_string(&file).expect("a source");
        assert!(source.contains(&format!("fn {name}(")), "{name} is not in {}", file.display());
    }
}

/// The arrows that go out from a crate, as its manifest says.
fn arrows_of(name: &str, manifest: &Path) -> Vec<String> {
    let manifest = fs::read_to_string(manifest).expect("a manifest");
    let (mut from, mut arrows) = (None, Vec::new());
    for line in manifest.lines() {
        if line.starts_with('[') {
            // For one system too, and for build scripts.
            let is_normal = line.ends_with("dependencies]") && !line.contains("dev-");
            from = match (is_normal, line.ends_with("dev-dependencies]")) {
                (true, _) => Some(name.to_owned()),
                (_, true) => Some(format!("{name} (tests)")),
                _ => None,
            };
        } else if let (Some(from), Some(used)) = (&from, line.split(['.', ' ', '=']).next())
            && used.starts_with("lllsi")
        {
            arrows.push(format!("{from} -> {}", used.strip_prefix("lllsi-").unwrap_or(used)));
        }
    }
    arrows
}

#[test]
fn each_arrow_between_the_crates_is_explained() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let crates = fs::read_dir(top.join("crates")).expect("a directory");
    let names = crates.map(|entry| entry.expect("it can be read").file_name());
    let mut arrows = Vec::new();
    for name in names.map(|name| name.into_string().expect("a name")) {
        arrows.extend(arrows_of(&name, &top.join("crates").join(&name).join("Cargo.toml")));
    }
    arrows.extend(arrows_of("fuzz", &top.join("fuzz/Cargo.toml")));

    let text = fs::read_to_string(top.join("ARCHITECTURE.md")).expect("a text");
    let (_, table) = text.split_once("| Crate | uses | for |\n|---|---|---|\n").expect("the table");
    let mut explained = Vec::new();
    for row in table.lines().take_while(|line| line.starts_with('|')) {
        let row = row.replace('`', "");
        let mut cells = row.split('|').skip(1).map(str::trim);
        let (from, to) = (cells.next().expect("a crate"), cells.next().expect("what it uses"));
        explained.extend(to.split(", ").map(|used| format!("{from} -> {used}")));
    }
    arrows.sort();
    explained.sort();
    assert_eq!(arrows, explained);
}
