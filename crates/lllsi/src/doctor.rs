//! What this machine and its network are fit for, and what to do where they are not.
//!
//! ```
//! use lllsi::doctor::{Doctor, State};
//!
//! # fn main() -> Result<(), lllsi::Error> {
//! let diagnosis = Doctor::new().examine()?;
//! for finding in diagnosis.findings.iter().filter(|finding| finding.state != State::Ok) {
//!     println!("{}", finding.message);
//!     if let Some(advice) = &finding.advice {
//!         println!("    {advice}");
//!     }
//! }
//! # Ok(())
//! # }
//! ```

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use lllsi_io::peer::Rendezvous;
use lllsi_media::picture::{I420, Size};
use lllsi_media::{self as media, capture, convert, encode, render};
use lllsi_proto::invite::CertificateHash;

pub use lllsi_io::doctor::{Area, Family, Filtering, Finding, Nat, NatKind, State, Topic};

use crate::{Error, server_url};

/// For all that needs no network.
const HERE: Duration = Duration::from_millis(4500);
/// For a picture of a screen.
const PICTURE: Duration = Duration::from_secs(1);
/// What is coded to see how long that takes: what a host sends by default.
const CODED: encode::Config =
    encode::Config { size: Size::new(1280, 720), fps: 30, bitrate: 5_000_000 };

/// Looks at this machine, its network and the way to a server.
///
/// It opens a room at the server and asks it for STUN. It sends nothing to any other machine.
///
/// ```no_run
/// use lllsi::doctor::{Doctor, Family, NatKind};
///
/// # fn main() -> Result<(), lllsi::Error> {
/// let diagnosis = Doctor::new().server("https://rendezvous.example").examine()?;
/// match diagnosis.nat(Family::V4).map(|nat| nat.kind) {
///     Some(NatKind::Symmetric | NatKind::SymmetricSequential) => println!("Try another network."),
///     Some(kind) => println!("Behind a NAT of kind {}.", kind.name()),
///     None => println!("The server was not reached by UDP."),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Doctor {
    server: Option<String>,
    certificate: Option<CertificateHash>,
    window: bool,
}

/// What a [`Doctor`] has found out.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Diagnosis {
    /// By [`Area`], in the order in which they are to be read.
    pub findings: Vec<Finding>,
    /// How long it took.
    pub took: Duration,
}

impl Diagnosis {
    /// What keeps streams from working.
    pub fn problems(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.state == State::Problem)
    }

    /// What is between this machine and the server, for addresses of this family. `None` if no answer of the server came by UDP,
    /// or none was asked.
    pub fn nat(&self, family: Family) -> Option<Nat> {
        let mut findings = self.findings.iter();
        findings.find(|finding| finding.nat.is_some() && finding.family == Some(family))?.nat
    }
}

impl Doctor {
    /// Looks at this machine alone.
    pub fn new() -> Self {
        Self::default()
    }

    /// The rendezvous server's base URL, `http://…` or `https://…`: with one the way there is looked at.
    pub fn server(mut self, url: impl Into<String>) -> Self {
        self.server = Some(url.into());
        self
    }

    /// The only certificate to accept from an `https://` server, for servers that have made their own; default what the system
    /// trusts.
    pub fn server_certificate(mut self, hash: CertificateHash) -> Self {
        self.certificate = Some(hash);
        self
    }

    /// Whether to look if a window could be opened; default no. A process that has looked can open none any more.
    pub fn window(mut self, window: bool) -> Self {
        self.window = window;
        self
    }

    /// Looks at everything, and blocks for less than five seconds. What does not answer until then, such as a display, is left to
    /// itself on its thread.
    ///
    /// # Errors
    /// [`Error::ServerAddress`] and [`Error::CertificateWithoutHttps`]; [`Error::Io`] for what the system refuses. Everything else
    /// that is wrong is a finding.
    pub fn examine(self) -> Result<Diagnosis, Error> {
        let began = Instant::now();
        let certificate = self.certificate;
        let server = match self.server {
            Some(url) => Some(Rendezvous { url: server_url(url, certificate)?, certificate }),
            None => None,
        };
        let mut checks =
            vec![Check::start(Topic::Capture, screen), Check::start(Topic::Encoder, encoder)];
        if self.window {
            checks.push(Check::start(Topic::Window, window));
        }
        let mut findings = lllsi_io::doctor::examine(server.as_ref())?;
        findings.extend(checks.into_iter().map(|check| check.wait(began + HERE)));
        findings.push(sound());
        findings.sort_by_key(|finding| finding.topic.area());
        Ok(Diagnosis { findings, took: began.elapsed() })
    }
}

/// Something that is looked at on a thread of its own: a display that does not answer holds up nothing else.
struct Check {
    topic: Topic,
    finding: Receiver<Finding>,
}

impl Check {
    fn start(topic: Topic, check: fn() -> Finding) -> Self {
        let (told, finding) = sync_channel(1);
        let body = move || drop(told.send(check()));
        // Without a thread the channel closes, and that shows at the other end.
        let _ = std::thread::Builder::new().name("doctor".into()).spawn(body);
        Self { topic, finding }
    }

    fn wait(self, until: Instant) -> Finding {
        let left = until.saturating_duration_since(Instant::now());
        let what = match self.topic {
            Topic::Capture => "display whose screen is shown",
            Topic::Window => "display for windows",
            _ => "encoder",
        };
        self.finding.recv_timeout(left).unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => {
                Finding::problem(self.topic, format!("The {what} does not answer in time.")).advice(
                    "Check that it runs and is not stopped, and that this machine has time for it.",
                )
            }
            RecvTimeoutError::Disconnected => {
                Finding::problem(self.topic, format!("The {what} failed unexpectedly."))
                    .advice("Run it again with -vv, and report what it logs.")
            }
        })
    }
}

/// Whether the screen can be shown.
fn screen() -> Finding {
    if !capture::default_display() {
        let (message, advice) = without_display();
        return Finding::warning(Topic::Capture, message).advice(advice);
    }
    let picture = || {
        let mut source = capture::screen(None)?;
        let began = Instant::now();
        source.next(began, began + PICTURE)?;
        Ok::<_, media::Error>((source.describe(), began.elapsed()))
    };
    match picture() {
        Ok((described, took)) => {
            let ms = took.as_secs_f64() * 1000.0;
            let message =
                format!("The screen can be shown: {described}. A picture took {ms:.0} ms.");
            Finding::ok(Topic::Capture, message)
        }
        // What LLLSI cannot do yet, on machines that are as they should be.
        Err(
            error
            @ (media::Error::UnsupportedDisplay { .. } | media::Error::NoScreenCapture { .. }),
        ) => Finding::warning(Topic::Capture, sentence(&error))
            .advice("Show another display, a test card, or streams of your own; watching works."),
        Err(error) => Finding::problem(Topic::Capture, sentence(&error))
            .advice("Start it inside a graphical session, as the user whose session it is."),
    }
}

/// Why no screen can be shown where no display is named.
fn without_display() -> (&'static str, &'static str) {
    let is_named = std::env::var_os("WAYLAND_DISPLAY").is_some_and(|name| !name.is_empty());
    if !cfg!(target_os = "linux") {
        let message = "Screens cannot be shown on this system yet.";
        (message, "Show a test card, or streams of your own; watching works.")
    } else if is_named {
        let message = "No screen can be shown: this is a Wayland session, whose screens cannot be captured yet, and DISPLAY is not set.";
        (message, "Log in to an X11 session, or show a test card: --source test.")
    } else {
        let message = "No screen can be shown: there is no display, since DISPLAY is not set.";
        (
            message,
            "Start it inside a graphical session, name a display with --source screen:DISPLAY, or show a test card: --source test.",
        )
    }
}

/// How long a picture takes to encode.
fn encoder() -> Finding {
    let took = match coded() {
        Ok(took) => took.as_secs_f64() * 1000.0,
        Err(error) => {
            return Finding::problem(Topic::Encoder, sentence(&error))
                .advice("Run it again with -vv, and report what it logs.");
        }
    };
    let (size, fps) = (CODED.size, CODED.fps);
    let budget = 1000.0 / f64::from(fps);
    let message = format!(
        "H.264 by OpenH264: a picture of {size} takes {took:.1} ms to encode, where one has {budget:.0} ms at {fps} a second."
    );
    match encode::advice() {
        Some(advice) => Finding::warning(Topic::Encoder, message).advice(advice),
        None if took > budget => Finding::warning(Topic::Encoder, message)
            .advice("Use a smaller --size, or fewer pictures a second: --fps."),
        None => Finding::ok(Topic::Encoder, message),
    }
}

/// Codes a keyframe and a picture after it, of a test card. Returns how long the second one took.
fn coded() -> Result<Duration, media::Error> {
    let mut source = capture::test_card(CODED.size, CODED.fps);
    let mut encoder = encode::h264(CODED)?;
    let (mut picture, mut out, mut took) = (I420::default(), Vec::new(), Duration::ZERO);
    let first = Instant::now();
    for kind in [encode::Kind::Keyframe, encode::Kind::Next] {
        let now = Instant::now();
        if let Some(grab) = source.next(now, now + PICTURE)? {
            convert::to_i420(grab.picture, grab.rows, &mut picture)?;
        }
        let began = Instant::now();
        encoder.encode(&picture, kind, began - first, &mut out)?;
        took = began.elapsed();
    }
    Ok(took)
}

/// Whether a viewer's window could be opened.
fn window() -> Finding {
    if !render::has_display() {
        let message = "No window can be opened: there is no display, since neither DISPLAY nor WAYLAND_DISPLAY is set.";
        let advice = "Start it inside a graphical session, or watch in a browser elsewhere; `lllsi join --headless` goes without.";
        return Finding::warning(Topic::Window, message).advice(advice);
    }
    if cfg!(target_os = "macos") {
        // There it takes the main thread.
        let message = "Whether a window can be opened is not looked at on this system.";
        return Finding::warning(Topic::Window, message).advice("Try `lllsi demo`.");
    }
    match render::check_window() {
        Ok(()) => Finding::ok(Topic::Window, "A window can be opened to watch in."),
        Err(error) => Finding::problem(Topic::Window, sentence(&error)).advice(
            "Start it inside a graphical session with the libraries for windows, or without a window: `lllsi join --headless`.",
        ),
    }
}

fn sound() -> Finding {
    Finding::warning(Topic::Sound, "LLLSI carries no sound yet.")
        .advice("Use another program for it meanwhile.")
}

/// An error as a sentence.
fn sentence(error: &media::Error) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_coded_and_timed() {
        let finding = encoder();
        assert_ne!(finding.state, State::Problem, "{finding:?}");
        assert!(finding.message.contains("1280x720"), "{finding:?}");
    }

    #[test]
    fn a_check_that_does_not_answer_or_ends_is_a_problem() {
        let soon = || Instant::now() + Duration::from_millis(20);
        let slow = Check::start(Topic::Capture, || {
            std::thread::sleep(Duration::from_secs(1));
            sound()
        });
        let finding = slow.wait(soon());
        assert_eq!((finding.topic, finding.state), (Topic::Capture, State::Problem));
        assert!(finding.message.contains("in time"), "{finding:?}");
        let (told, finding) = sync_channel(1);
        drop(told);
        let finding = Check { topic: Topic::Window, finding }.wait(soon());
        assert!(finding.message.contains("unexpectedly"), "{finding:?}");
    }

    #[test]
    fn everything_is_looked_at_and_the_findings_stand_by_area() {
        let diagnosis = Doctor::new().examine().expect("it looks");
        let areas: Vec<_> = diagnosis.findings.iter().map(|finding| finding.topic.area()).collect();
        assert!(areas.is_sorted(), "{diagnosis:?}");
        for topic in [Topic::Interface, Topic::Capture, Topic::Encoder, Topic::Sound] {
            let is_there = diagnosis.findings.iter().any(|finding| finding.topic == topic);
            assert!(is_there, "{topic:?} is not in {diagnosis:?}");
        }
        assert!(diagnosis.took < Duration::from_secs(5), "{:?}", diagnosis.took);
        assert_eq!((diagnosis.nat(Family::V4), diagnosis.nat(Family::V6)), (None, None));
    }

    #[test]
    fn a_server_whose_address_is_none_is_an_error() {
        let error = Doctor::new().server("nonsense").examine().err();
        assert!(matches!(error, Some(Error::ServerAddress { .. })), "{error:?}");
    }
}
