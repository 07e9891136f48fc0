//! The log. It goes to stderr, so that stdout stays for links and JSON.

use std::collections::HashMap;
use std::fmt;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// One line of a kind in this time: peers can cause several kinds, and must not fill a disk.
const EVERY: Duration = Duration::from_secs(1);

pub(crate) fn start(verbose: u8) {
    let level = match verbose {
        0 => tracing::Level::WARN,
        1 => tracing::Level::INFO,
        2 => tracing::Level::DEBUG,
        _ => tracing::Level::TRACE,
    };
    // The window library warns of things that concern nobody. What parses datagrams warns of each that makes no sense.
    let noisy = if verbose == 0 { tracing::Level::ERROR } else { level };
    let noisy = ["winit", "is", "dimpl", "sctp_proto"].map(|name| (name, noisy));
    let targets = Targets::new().with_default(level).with_targets(noisy);
    let colours = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    // A log with more than warnings is for looking into something: nothing is left out of it.
    let lines = lines.event_format(Scarce::new(verbose == 0));
    tracing_subscriber::registry().with(lines).with(targets).init();
}

/// Lines in the usual format, few enough of each kind.
struct Scarce {
    format: Format,
    kinds: Option<Mutex<Kinds>>,
}

impl Scarce {
    fn new(is_scarce: bool) -> Self {
        Self { format: Format::default(), kinds: is_scarce.then(Mutex::default) }
    }

    /// How many lines of this kind were left out before this one, or `None` if this one is left out too.
    fn admit(&self, event: &Event<'_>) -> Option<u64> {
        let Some(kinds) = &self.kinds else { return Some(0) };
        let mut kinds = kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.admit(event.metadata().callsite(), Instant::now())
    }
}

impl<S, N> FormatEvent<S, N> for Scarce
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // Of what nothing is written here, the layer writes nothing.
        let Some(left_out) = self.admit(event) else { return Ok(()) };
        self.format.format_event(context, writer.by_ref(), event)?;
        match left_out {
            0 => Ok(()),
            _ => writeln!(writer, "  {left_out} lines like this one were left out before it"),
        }
    }
}

/// When a line of each kind was last written, and how many were left out since. A kind is a place in the code, so there are
/// only so many.
#[derive(Debug, Default)]
struct Kinds(HashMap<Identifier, (Instant, u64)>);

impl Kinds {
    fn admit(&mut self, kind: Identifier, now: Instant) -> Option<u64> {
        let Some((at, left_out)) = self.0.get_mut(&kind) else {
            self.0.insert(kind, (now, 0));
            return Some(0);
        };
        if now < *at + EVERY {
            *left_out += 1;
            return None;
        }
        *at = now;
        Some(std::mem::take(left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::Arc;

    use tracing_subscriber::fmt::MakeWriter;

    #[derive(Clone, Default)]
    struct Text(Arc<Mutex<Vec<u8>>>);

    impl Write for Text {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Text {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// What is written of so many warnings of one kind and one of another, and how long that took.
    fn written(is_scarce: bool, warnings: u32) -> (String, Duration) {
        let text = Text::default();
        let lines = tracing_subscriber::fmt::layer().with_writer(text.clone()).with_ansi(false);
        let lines = lines.event_format(Scarce::new(is_scarce));
        let began = Instant::now();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            (0..warnings).for_each(|number| tracing::warn!(number, "a peer makes no sense"));
            tracing::warn!("something else");
        });
        let bytes = text.0.lock().unwrap().clone();
        (String::from_utf8(bytes).unwrap(), began.elapsed())
    }

    #[test]
    fn a_flood_of_warnings_is_one_line_a_second_and_hides_no_other() {
        let (text, time) = written(true, 10_000);
        let most = 1 + time.as_secs() as usize;
        let of_peers = text.lines().filter(|line| line.contains("no sense")).count();
        assert!((1..=most).contains(&of_peers), "{text}");
        assert!(text.contains("number=0") && text.contains("something else"), "{text}");
        let (text, _) = written(false, 100);
        assert_eq!(text.lines().count(), 101, "all for those who ask for more");
    }

    #[test]
    fn what_is_left_out_is_counted_in_the_next_line() {
        let mut kinds = Kinds::default();
        let kind =
            tracing::callsite!(name: "a kind", kind: tracing::metadata::Kind::EVENT, fields:);
        let kind = tracing::Callsite::metadata(kind).callsite();
        let now = Instant::now();
        assert_eq!(kinds.admit(kind.clone(), now), Some(0));
        for _ in 0..7 {
            assert_eq!(kinds.admit(kind.clone(), now + EVERY / 2), None);
        }
        assert_eq!(kinds.admit(kind.clone(), now + EVERY), Some(7));
        assert_eq!(kinds.admit(kind, now + 3 * EVERY), Some(0));
    }
}
