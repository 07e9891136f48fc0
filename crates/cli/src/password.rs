//! Where a room's password comes from: never from the command line, which other users of the machine can see.

use std::io::{BufRead, ErrorKind, IsTerminal};
use std::path::{Path, PathBuf};

use crate::failure::{Code, Failure};
use crate::stop::INTERRUPTED;

/// Holds a room's password.
const VARIABLE: &str = "LLLSI_PASSWORD";

/// The password in the file, else in the environment.
pub(crate) fn given(file: Option<&Path>) -> Result<Option<String>, Failure> {
    let Some(path) = file else {
        return Ok(std::env::var(VARIABLE).ok().filter(|password| !password.trim().is_empty()));
    };
    match std::fs::read_to_string(path) {
        // Its first line: editors put an end to it, and some a mark at the front.
        Ok(text) => {
            let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
            Ok(Some(text.lines().next().unwrap_or_default().to_owned()))
        }
        Err(error) => {
            let message = format!("cannot read the password in {}: {error}", path.display());
            Err(Failure::new(Code::File, message))
        }
    }
}

/// Asks for it.
pub(crate) fn ask() -> Result<String, Failure> {
    let ways =
        format!("Pass it on stdin, in the environment variable {VARIABLE} or by --password-file.");
    typed("password", "Password of the room (not shown): ", Code::WrongPassword, &ways)
}

/// A secret that somebody types, or that comes on stdin. On a terminal it is not shown.
pub(crate) fn typed(what: &str, prompt: &str, code: Code, ways: &str) -> Result<String, Failure> {
    let failed = |e: std::io::Error| {
        if e.kind() == ErrorKind::Interrupted {
            // Ctrl-C: whoever asks to end wants no advice.
            std::process::exit(INTERRUPTED);
        }
        Failure::new(code, format!("no {what} could be read: {e}")).next(ways)
    };
    if std::io::stdin().is_terminal() {
        return rpassword::prompt_password(prompt).map_err(failed);
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(failed)?;
    if line.trim().is_empty() {
        return Err(Failure::new(code, format!("no {what} was given")).next(ways));
    }
    Ok(line)
}

/// Where programs keep what outlives them.
pub(crate) fn default_state() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let directory = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = if cfg!(windows) {
        directory("LOCALAPPDATA")
    } else {
        directory("XDG_STATE_HOME").or_else(|| Some(directory("HOME")?.join(".local/state")))
    };
    base.map(|base| base.join("lllsi"))
}
