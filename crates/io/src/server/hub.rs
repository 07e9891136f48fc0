//! The task that owns the machine: connections talk to it, and are talked to, by bounded queues.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lllsi_core::rendezvous::{ConnectionId, Counters, Input, Output, Rendezvous};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::keeper::Keeper;
use crate::metrics::{Shell, count};

/// What connections tell the machine's task.
pub(super) enum Told {
    Connected(ConnectionId, IpAddr, mpsc::Sender<String>),
    Received(ConnectionId, String),
    Disconnected(ConnectionId),
    /// Somebody wants to know how it goes.
    Asked(oneshot::Sender<Counters>),
    Stop,
}

/// Runs until it is told to stop, or nobody is left who could tell it.
pub(super) async fn run(
    mut machine: Rendezvous,
    mut keeper: Keeper,
    mut told: mpsc::Receiver<Told>,
    shell: Arc<Shell>,
) {
    let mut connections: HashMap<ConnectionId, mpsc::Sender<String>> = HashMap::new();
    let mut deadline = Instant::now() + Duration::from_secs(3600);
    loop {
        let input = tokio::select! {
            told = told.recv() => match told {
                Some(Told::Connected(id, ip, texts)) => {
                    connections.insert(id, texts);
                    Input::Connected(id, ip)
                }
                Some(Told::Received(id, text)) => Input::Received(id, text),
                Some(Told::Disconnected(id)) => {
                    connections.remove(&id);
                    Input::Disconnected(id)
                }
                Some(Told::Asked(answer)) => {
                    // Who asked may have gone.
                    let _ = answer.send(machine.counters());
                    continue;
                }
                Some(Told::Stop) | None => {
                    connections.clear();
                    return keeper.finish(&machine).await;
                }
            },
            () = keeper.is_due() => {
                keeper.write(&machine);
                continue;
            }
            () = tokio::time::sleep_until(deadline.into()) => Input::Timeout,
        };
        machine.handle_input(Instant::now(), input);
        deadline = loop {
            match machine.poll_output() {
                Output::Send(to, text) => {
                    match connections.get(&to).map(|texts| texts.try_send(text)) {
                        Some(Err(TrySendError::Full(_))) => {
                            // Its task ends when its queue is dropped, and tells the machine.
                            connections.remove(&to);
                            count(&shell.slow);
                        }
                        Some(Err(TrySendError::Closed(_))) => drop(connections.remove(&to)),
                        Some(Ok(())) | None => {}
                    }
                }
                Output::Close(id) => drop(connections.remove(&id)),
                Output::NamesChanged => keeper.changed(),
                Output::Timeout(at) => break at,
            }
        };
    }
}
