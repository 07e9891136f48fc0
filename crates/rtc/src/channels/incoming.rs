//! What the association tells: its end, messages, channels that open and close.

use std::time::Instant;

use bytes::Bytes;
use sctp_proto::{Association, Chunks, Error, PayloadProtocolIdentifier, StreamEvent};
use tracing::debug;

use super::table::{self, State};
use super::{Channel, Channels, Event, Phase};
use crate::dcep;
use crate::filter::Violation;

impl Channels {
    /// Reads all that the association has to tell, messages included, so that nothing stays in it.
    pub(super) fn drain(&mut self, now: Instant) -> Result<(), Violation> {
        while let Some(event) = self.association.as_mut().and_then(Association::poll) {
            match event {
                sctp_proto::Event::Connected => self.connected(),
                sctp_proto::Event::HandshakeFailed { .. }
                | sctp_proto::Event::AssociationLost { .. } => self.lose(),
                sctp_proto::Event::Stream(event) => self.stream_event(event)?,
                _ => {}
            }
        }
        let ends = |association: &Association| association.is_closing() || association.is_closed();
        if self.phase == Phase::Established && self.association.as_ref().is_some_and(ends) {
            // The peer shuts down, and gets its answer.
            self.gather(now);
            self.lose();
        }
        self.offer_room();
        Ok(())
    }

    fn connected(&mut self) {
        self.phase = Phase::Established;
        if let Some(filter) = &mut self.filter {
            filter.established();
        }
        if let Some(association) = &mut self.association {
            association.set_max_send_message_size(u32::try_from(self.max_send).unwrap_or(u32::MAX));
        }
        for id in self.table.ids() {
            self.open_stream(id);
        }
    }

    pub(super) fn lose(&mut self) {
        if self.phase != Phase::Ended {
            debug!("the SCTP association ended");
            self.phase = Phase::Ended;
            self.has_work = false;
            self.events.push_back(Event::Lost);
        }
    }

    fn stream_event(&mut self, event: StreamEvent) -> Result<(), Violation> {
        match event {
            StreamEvent::Opened { .. } => {
                let association = self.association.as_mut();
                association.and_then(|association| association.accept_stream().map(|_| ()));
            }
            StreamEvent::Readable { id } => self.read(id)?,
            StreamEvent::Finished { id } => {
                if let Some(entry) = self.table.get_mut(id) {
                    entry.state = State::Closed;
                    self.refused.retain(|&other| other != id);
                    self.events.push_back(Event::Closed(id));
                }
            }
            StreamEvent::ResetComplete { id } => self.forget(id),
            // A channel whose reset the peer denied keeps its id for good.
            _ => {}
        }
        Ok(())
    }

    pub(super) fn forget(&mut self, id: u16) {
        self.table.remove(id);
        if let Some(filter) = &mut self.filter {
            filter.release(id);
        }
    }

    fn read(&mut self, id: u16) -> Result<(), Violation> {
        while let Some(association) = &mut self.association {
            // The stream is gone, or this end closed it.
            let Ok(mut stream) = association.stream(id) else { break };
            let Ok(Some(mut message)) = stream.read() else { break };
            self.message(id, &mut message)?;
        }
        Ok(())
    }

    fn message(&mut self, id: u16, message: &mut Chunks) -> Result<(), Violation> {
        let data = message.next(message.len()).map(|chunk| chunk.bytes).unwrap_or_default();
        let (is_binary, is_empty) = match message.ppi {
            PayloadProtocolIdentifier::Dcep => return self.dcep(id, &data),
            PayloadProtocolIdentifier::String => (false, false),
            PayloadProtocolIdentifier::StringEmpty => (false, true),
            PayloadProtocolIdentifier::Binary => (true, false),
            PayloadProtocolIdentifier::BinaryEmpty => (true, true),
            PayloadProtocolIdentifier::Unknown => return Err(Violation::PayloadType(0)),
        };
        let entry = self.table.get_mut(id).ok_or(Violation::UnknownStream(id))?;
        if entry.state == State::Asked {
            // RFC 8832 section 6: a message says as much as the ACK.
            entry.state = State::Open;
            self.events.push_back(Event::Opened(id));
        }
        if matches!(entry.state, State::Open | State::Waiting) {
            let data = if is_empty { Bytes::new() } else { data };
            self.events.push_back(Event::Message { id, is_binary, data });
        }
        Ok(())
    }

    fn dcep(&mut self, id: u16, message: &[u8]) -> Result<(), Violation> {
        let entry = self.table.get_mut(id);
        match (dcep::parse(id, message).ok_or(Violation::Dcep(id))?, entry) {
            (dcep::Message::Open(channel), None) => self.opened_by_peer(channel),
            (dcep::Message::Ack, Some(entry)) if !entry.channel.negotiated => {
                if entry.state == State::Asked {
                    entry.state = State::Open;
                    self.events.push_back(Event::Opened(id));
                }
                Ok(())
            }
            _ => Err(Violation::Dcep(id)),
        }
    }

    fn opened_by_peer(&mut self, channel: Channel) -> Result<(), Violation> {
        let id = channel.id;
        self.table.insert_from_peer(channel.clone());
        if let Some(filter) = &mut self.filter {
            filter.accept(id);
        }
        self.events.push_back(Event::OpenedByPeer(channel));
        if !self.configure(id, Some(&dcep::ACK)) {
            self.close(id);
        }
        Ok(())
    }

    pub(super) fn open_stream(&mut self, id: u16) {
        let Some(entry) = self.table.get(id) else { return };
        if entry.state != State::Waiting {
            return;
        }
        let negotiated = entry.channel.negotiated;
        let hello = if negotiated { None } else { dcep::open_message(&entry.channel) };
        if !self.configure(id, hello.as_deref()) {
            self.events.push_back(Event::Closed(id));
            return self.forget(id);
        }
        if let Some(entry) = self.table.get_mut(id) {
            entry.state = if negotiated { State::Open } else { State::Asked };
        }
        if negotiated {
            self.events.push_back(Event::Opened(id));
        }
    }

    /// Makes the stream of channel `id`, unless the peer's data did, and sends a DCEP message.
    fn configure(&mut self, id: u16, hello: Option<&[u8]>) -> bool {
        let Some(entry) = self.table.get(id) else { return false };
        let Some(association) = &mut self.association else { return false };
        let kind = PayloadProtocolIdentifier::Binary;
        let made = match association.open_stream(id, kind).map(|_| ()) {
            Err(Error::ErrStreamAlreadyExist) => Ok(()),
            other => other,
        };
        let Ok(mut stream) = made.and_then(|()| association.stream(id)) else { return false };
        let (unordered, kind, value) = table::reliability(&entry.channel);
        let set = stream.set_reliability_params(unordered, kind, value);
        let sent = hello.is_none_or(|hello| {
            stream.write_with_ppi(hello, PayloadProtocolIdentifier::Dcep).is_ok()
        });
        self.has_work = true;
        set.is_ok() && sent
    }
}
