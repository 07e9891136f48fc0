//! What outlives a run, in a directory: a server's certificate and names, and the key by which a host owns its names.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lllsi_core::rendezvous::Claim;
use lllsi_core::seal;
use lllsi_proto::invite::{RoomId, RoomToken};
use lllsi_proto::room::RoomName;
use serde::{Deserialize, Serialize};
use tokio_tungstenite::tungstenite::http::Uri;

use crate::{Error, random};

/// The names that a server keeps.
const NAMES: &str = "names.json";
/// Held by the server that uses the directory.
const LOCK: &str = "lock";
/// The key from which a host's room tokens come.
const OWNER: &str = "owner.key";

fn failed(path: &Path) -> impl Fn(std::io::Error) -> Error {
    let path = path.to_owned();
    move |error| Error::State { path: path.clone(), detail: error.to_string() }
}

/// Makes the directory, if it is not there.
pub(crate) fn prepare(directory: &Path) -> Result<(), Error> {
    fs::create_dir_all(directory).map_err(failed(directory))
}

/// Makes the directory, and keeps other servers from it until this is dropped: each would write over what the other has.
pub(crate) fn lock(directory: &Path) -> Result<File, Error> {
    prepare(directory)?;
    let path = directory.join(LOCK);
    let file = File::options().create(true).append(true).open(&path).map_err(failed(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::StateInUse { path: directory.to_owned() }),
        // Some file systems know no locks.
        Err(TryLockError::Error(error)) => {
            tracing::warn!(%error, path = %path.display(), "nothing keeps other servers from here");
            Ok(file)
        }
    }
}

/// Writes a new file that only its owner can read. It is there whole or not at all; one that is there stays as it is.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let random = random::<8>().map_err(std::io::Error::other)?;
    let fresh = path.with_extension(format!("{:x}.new", u64::from_be_bytes(random)));
    let linked = write(&fresh, bytes).and_then(|()| fs::hard_link(&fresh, path));
    let _ = fs::remove_file(&fresh);
    match linked {
        // Some file systems know no links.
        Err(error) if error.kind() != ErrorKind::AlreadyExists => write(path, bytes),
        linked => linked,
    }
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[derive(Serialize, Deserialize)]
struct Kept {
    name: RoomName,
    room: RoomId,
    /// Seconds since 1970.
    until: u64,
    /// Seconds that its room was open.
    used: u64,
}

/// The names that a server knew when it ended; none if it was never there.
pub(crate) fn names(directory: &Path, now: SystemTime) -> Result<Vec<Claim>, Error> {
    let path = directory.join(NAMES);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(failed(&path))?,
    };
    let kept: Vec<Kept> = serde_json::from_slice(&text).map_err(|e| Error::Damaged {
        path,
        detail: e.to_string(),
        loss: "all names are free",
    })?;
    let claim = |Kept { name, room, until, used }| {
        let passed = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = Duration::from_secs(until).checked_sub(passed).filter(|left| !left.is_zero())?;
        Some(Claim { name, room, left, used: Duration::from_secs(used) })
    };
    Ok(kept.into_iter().filter_map(claim).collect())
}

/// Writes them down. The file is the old or the new one, whatever happens meanwhile.
pub(crate) fn keep_names(
    directory: &Path,
    now: SystemTime,
    claims: Vec<Claim>,
) -> Result<(), Error> {
    let passed = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let kept = claims.into_iter().map(|Claim { name, room, left, used }| {
        let until = passed.saturating_add(left).as_secs();
        Kept { name, room, until, used: used.as_secs() }
    });
    let kept: Vec<_> = kept.collect();
    let text = serde_json::to_vec(&kept).expect("plain structs serialize");
    let (path, fresh) = (directory.join(NAMES), directory.join("names.json.new"));
    let _ = fs::remove_file(&fresh);
    write(&fresh, &text).and_then(|()| fs::rename(&fresh, &path)).map_err(failed(&path))
}

/// The token with which a host owns this name at this server, now and after a restart. It comes from one secret key in
/// the directory, which is made if it is not there; what one server is told is worth nothing at another.
///
/// # Errors
/// [`Error::State`] if the directory cannot be made, read or written.
pub fn room_token(directory: &Path, server: &str, name: &RoomName) -> Result<RoomToken, Error> {
    let path = directory.join(OWNER);
    if !path.exists() {
        prepare(directory)?;
        let made = create(&path, &random::<32>()?);
        // Another run may have been faster.
        made.or_else(|error| match error.kind() {
            ErrorKind::AlreadyExists => Ok(()),
            _ => Err(failed(&path)(error)),
        })?;
    }
    let key = fs::read(&path).map_err(failed(&path))?;
    let loss = "your names are not yours any more";
    let damaged = |_| Error::Damaged { path, detail: "not 32 bytes".into(), loss };
    let key: [u8; 32] = key.try_into().map_err(damaged)?;
    Ok(seal::room_token(&key, &normal(server), name))
}

/// One spelling for each server: without usual ports and capital letters.
fn normal(server: &str) -> String {
    let Ok(uri) = server.parse::<Uri>() else { return server.to_owned() };
    let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return server.to_owned();
    };
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    let path = uri.path().trim_end_matches('/');
    format!("{scheme}://{}:{port}{path}", host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(name: &str, left: u64) -> Claim {
        let room = RoomToken::from_bytes([1; 32]).room_id();
        let (name, left) = (name.parse().expect("a name"), Duration::from_secs(left));
        Claim { name, room, left, used: Duration::from_secs(7) }
    }

    #[test]
    fn names_are_read_as_they_were_written_and_lapse_meanwhile() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let begin = UNIX_EPOCH + Duration::from_secs(1_000_000);
        assert_eq!(names(directory.path(), begin).expect("none yet"), []);
        for _ in 0..2 {
            let claims = vec![claim("attic", 10), claim("den", 100)];
            keep_names(directory.path(), begin, claims).expect("they can be written");
        }
        let later = begin + Duration::from_secs(40);
        assert_eq!(names(directory.path(), later).expect("they are there"), [claim("den", 60)]);
    }

    #[test]
    fn one_server_has_a_directory_for_itself_until_it_ends() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let held = lock(directory.path()).expect("it is free");
        let second = lock(directory.path()).expect_err("it is not").to_string();
        assert!(second.contains("another server"), "{second}");
        drop(held);
        lock(directory.path()).expect("it is free again");
    }

    #[test]
    fn a_damaged_file_is_named_and_left_alone() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join(NAMES);
        let room = RoomToken::from_bytes([1; 32]).room_id().to_base64();
        let far = format!(r#"[{{"name":"a","room":"{room}","until":{0},"used":{0}}}]"#, u64::MAX);
        fs::write(&path, far).expect("it can be written");
        assert_eq!(names(directory.path(), UNIX_EPOCH).expect("it is understood").len(), 1);
        fs::write(&path, "[{").expect("it can be written");
        let error = names(directory.path(), UNIX_EPOCH).expect_err("it is damaged").to_string();
        assert!(error.contains("names.json") && error.contains("damaged"), "{error}");
        assert!(path.exists());
    }

    #[test]
    fn a_host_owns_a_name_at_one_server_after_a_restart_too() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let place = directory.path().join("state");
        let token = |server, name: &str| {
            room_token(&place, server, &name.parse().expect("a name")).expect("it can be made")
        };
        let first = token("https://a.example", "den");
        assert!(first == token("https://a.example", "den"));
        assert!(first == token("https://A.example:443/", "den"));
        assert!(first != token("https://a.example/more", "den"));
        assert!(first != token("https://b.example", "den"));
        assert!(first != token("https://a.example", "attic"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(place.join(OWNER)).expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::write(place.join(OWNER), "short").expect("it can be written");
        let damaged = room_token(&place, "https://a.example", &"den".parse().expect("a name"));
        assert!(damaged.is_err_and(|e| e.to_string().contains("damaged")));
    }
}
