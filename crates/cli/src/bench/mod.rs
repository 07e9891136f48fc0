//! `lllsi bench`: what a server and a host can take.

mod fanout;
mod rendezvous;

pub(crate) use fanout::{fanout, sinks};
pub(crate) use rendezvous::rendezvous;

use crate::failure::{Code, Failure};

/// Resident memory of a process of this machine, in bytes.
fn memory(pid: u32) -> Result<u64, Failure> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path)
        .map_err(|e| Failure::new(Code::File, format!("cannot read {path}: {e}")))?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = kib.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let kib = kib.ok_or_else(|| Failure::new(Code::File, format!("{path} tells no memory")))?;
    Ok(kib * 1024)
}
