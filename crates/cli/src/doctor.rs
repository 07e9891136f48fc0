//! `lllsi doctor`: what this machine, its network and the way to a server are fit for.

use lllsi::doctor::{Area, Family, Finding, Nat, State, Topic};
use lllsi::{Diagnosis, Doctor};
use serde_json::{Value, json};

use crate::args;
use crate::failure::{Code, Failure};
use crate::report::{Report, rounded};

/// Said where no server is named.
const WITHOUT_SERVER: &str = "With --server URL it looks at the way to that server too, and at the NAT of this network. \
    It asks no server that you do not name.";

/// Areas, and their headings.
const AREAS: [(Area, &str); 4] = [
    (Area::Network, "This machine's network"),
    (Area::Server, "The server"),
    (Area::Path, "The NAT and the path"),
    (Area::Media, "Pictures and sound"),
];

pub(crate) fn run(args: &args::Doctor, report: &Report) -> Result<(), Failure> {
    let mut doctor = Doctor::new().window(true);
    if let Some(server) = &args.server {
        doctor = doctor.server(server);
    }
    if let Some(hash) = args.server_certificate {
        doctor = doctor.server_certificate(hash);
    }
    report.status("Looking; this takes five seconds at most.");
    let diagnosis = doctor.examine()?;
    for (area, heading) in AREAS {
        let mut findings =
            diagnosis.findings.iter().filter(|finding| finding.topic.area() == area).peekable();
        if findings.peek().is_some() {
            report.say(heading);
        }
        findings.for_each(|finding| tell(finding, report));
    }
    if args.server.is_none() {
        report.event(&json!({"event": "advice", "message": WITHOUT_SERVER}));
        report.say(WITHOUT_SERVER);
    }
    report.event(&summary(&diagnosis));
    match diagnosis.problems().next() {
        None => {
            report.say("Nothing here keeps streams from working.");
            Ok(())
        }
        Some(first) => Err(failure(first)),
    }
}

fn tell(finding: &Finding, report: &Report) {
    let Finding { topic, family, state, message, advice, .. } = finding;
    report.event(&json!({
        "event": "finding",
        "topic": topic.name(),
        "family": family.map(Family::name),
        "state": state.name(),
        "message": message,
        "advice": advice,
        "nat": finding.nat.as_ref().map(nat),
    }));
    report.say(&format!("  {:7}  {message}", state.name()));
    if let Some(advice) = advice {
        report.say(&format!("           {advice}"));
    }
}

fn nat(nat: &Nat) -> Value {
    json!({
        "kind": nat.kind.name(),
        "mapped": nat.mapped,
        "local": nat.local,
        "filtering": nat.filtering.map(|filtering| filtering.name()),
        "second": nat.second,
    })
}

fn summary(diagnosis: &Diagnosis) -> Value {
    let count = |state| diagnosis.findings.iter().filter(|finding| finding.state == state).count();
    let kind = |family| diagnosis.nat(family).map(|nat| nat.kind.name());
    json!({
        "event": "diagnosis",
        "problems": count(State::Problem),
        "warnings": count(State::Warning),
        "nat": {"ipv4": kind(Family::V4), "ipv6": kind(Family::V6)},
        "ms": rounded(diagnosis.took.as_secs_f64() * 1000.0),
    })
}

/// The failure that a problem would become.
fn failure(problem: &Finding) -> Failure {
    let code = match problem.topic {
        Topic::Name | Topic::Tcp | Topic::Signalling => Code::ServerUnreachable,
        Topic::Route | Topic::Stun | Topic::Nat | Topic::PathSize => Code::NoPath,
        Topic::Capture => Code::Source,
        Topic::Window => Code::Display,
        _ => Code::Unexpected,
    };
    let failure = Failure::new(code, &problem.message);
    match &problem.advice {
        Some(advice) => failure.next(advice),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_becomes_the_failure_that_a_stream_would_end_with() {
        let problem = Finding::problem(Topic::Stun, "UDP does not reach it.").advice("Let it out.");
        let failure = failure(&problem);
        assert_eq!((failure.code, failure.exit()), (Code::NoPath, 12));
        assert_eq!(failure.to_string(), "UDP does not reach it. Let it out.");
    }

    #[test]
    fn each_area_has_a_heading() {
        for topic in [Topic::Route, Topic::Stun, Topic::Nat, Topic::Sound] {
            assert!(AREAS.iter().any(|(area, _)| *area == topic.area()), "{topic:?}");
        }
        assert!(AREAS.iter().map(|(area, _)| area).is_sorted());
    }
}
