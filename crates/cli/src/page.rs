//! `lllsi page`: the browser's page as files, and what they hash to.

use lllsi::page_files;
use serde_json::{Map, json};
use sha2::{Digest, Sha256};

use crate::args;
use crate::failure::{Code, Failure};
use crate::report::Report;

pub(crate) fn run(args: &args::Page, report: &Report) -> Result<(), Failure> {
    if let Some(directory) = &args.to {
        let failed = |path: &std::path::Path, error| {
            Failure::new(Code::File, format!("cannot write {}: {error}", path.display()))
        };
        std::fs::create_dir_all(directory).map_err(|e| failed(directory, e))?;
        for (name, content) in page_files() {
            let path = directory.join(name);
            std::fs::write(&path, content).map_err(|e| failed(&path, e))?;
        }
    }
    let hashes: Vec<_> =
        page_files().iter().map(|(name, content)| (*name, hash(content))).collect();
    // As sha256sum writes and checks it.
    let listing: String = hashes.iter().map(|(name, hash)| format!("{hash}  {name}\n")).collect();
    let all = hash(listing.as_bytes());
    let files: Map<_, _> =
        hashes.into_iter().map(|(name, hash)| (name.into(), json!(hash))).collect();
    report.event(&json!({"event": "page", "sha256": all, "files": files}));
    report.say(listing.trim_end());
    report.say(&format!("SHA-256 of these lines: {all}"));
    Ok(())
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
