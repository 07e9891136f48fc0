//! Where the machine's events go.

use std::sync::Arc;

use lllsi_core::host::{self as machine, CloseReason};
use lllsi_io::peer::{Outbox, Overflow};

use super::HostEvent;
use crate::mailbox::Mailbox;
use crate::publish::Desk;
use crate::streams::{Hub, Told};

/// Sorts the machine's events: some are for the encoders, the others for the application.
pub(super) struct Sorter {
    pub(super) mailbox: Mailbox<HostEvent, ()>,
    pub(super) desk: Desk,
    pub(super) hub: Arc<Hub>,
}

impl Drop for Sorter {
    /// Tells the end even if the net thread panicked; after an orderly end this changes nothing.
    fn drop(&mut self) {
        self.hub.close();
        self.mailbox.close(HostEvent::Closed(CloseReason::Fault));
    }
}

impl Outbox<machine::Event> for Sorter {
    fn put(&mut self, event: machine::Event) -> Result<(), Overflow> {
        match &event {
            machine::Event::ViewerConnected { id, name, .. } => {
                self.hub.came(*id, name);
            }
            machine::Event::ViewerLeft { id, .. } => {
                self.hub.left(*id);
            }
            _ => {}
        }
        let event = match event {
            machine::Event::Watched(layer, is_watched) => {
                self.desk.set_watched(layer, is_watched);
                return Ok(());
            }
            machine::Event::KeyframeWanted(layer) => {
                self.desk.want_keyframe(layer);
                return Ok(());
            }
            machine::Event::Bitrate(layer, bitrate) => {
                self.desk.set_bitrate(layer, bitrate);
                return Ok(());
            }
            machine::Event::Hold(layer, is_held) => {
                self.desk.set_held(layer, is_held);
                return Ok(());
            }
            machine::Event::Closed(reason) => {
                if let Some(error) = self.desk.take_failure() {
                    self.mailbox.put_event(HostEvent::SourceFailed(error));
                }
                self.hub.close();
                self.mailbox.close(HostEvent::Closed(reason));
                return Ok(());
            }
            machine::Event::RoomOpen => HostEvent::Open,
            machine::Event::ServerLost(reason) => HostEvent::ServerLost { reason },
            machine::Event::ViewerWaiting { id, name, code } => {
                HostEvent::Waiting { id, name, code }
            }
            machine::Event::ViewerConnected { id, name, path } => {
                HostEvent::Connected { id, name, path }
            }
            machine::Event::ViewerPath { id, path } => HostEvent::PathChanged { id, path },
            machine::Event::ViewerLeft { id, reason } => HostEvent::Left { id, reason },
            machine::Event::Refused(reason) => HostEvent::Refused { reason },
            machine::Event::Rejected => HostEvent::Rejected,
            machine::Event::WrongPassword => HostEvent::WrongPassword,
            machine::Event::NameLost => HostEvent::NameLost,
            machine::Event::Replaced => HostEvent::Replaced,
            machine::Event::Stream(event) => {
                match self.hub.take(event) {
                    Some(Told::Announced(s)) => self.mailbox.put_minor(HostEvent::Announced(s)),
                    Some(Told::Withdrawn(s)) => self.mailbox.put_minor(HostEvent::Withdrawn(s)),
                    Some(Told::Returned { was, is }) => {
                        self.mailbox.put_event(HostEvent::Returned { was, is });
                    }
                    None => {}
                }
                return Ok(());
            }
        };
        self.mailbox.put_event(event);
        Ok(())
    }
}
