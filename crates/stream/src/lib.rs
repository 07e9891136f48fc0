//! Streams of anything, on their own: what they carry, what they keep it in, and how threads hand it on. No network here:
//! that is `lllsi`, which carries these between peers.
//!
//! | here | what |
//! |---|---|
//! | [`StreamData`] | anything that has a byte form |
//! | [`StreamContainer`], [`StreamVectorContainer`], [`StreamMapContainer`] | bounded places for items, with a rule for what is over the bound |
//! | [`MapReplica`], [`MapChange`] | a copy of a map that is written elsewhere |
//! | [`handoff`], [`newest`] | items from threads to a thread |
//! | [`StopToken`], [`Worker`] | threads that end with their owner |
//! | [`Mediator`], [`Action`], [`ActionListener`] | typed actions between parts that do not know each other |

mod container;
mod data;
mod handoff;
mod lenient;
mod mediator;
mod replica;
mod stop;
mod sync;

pub use container::{Overflow, Pushed, StreamContainer, StreamMapContainer, StreamVectorContainer};
pub use data::{DataError, Format, Raw, StreamData};
pub use handoff::{Closed, Counts, NotSent, Receiver, Sender, handoff, newest};
pub use mediator::{Action, ActionListener, Listening, Mediator};
pub use replica::{ENTRY_COST, MapChange, MapReplica};
pub use stop::{StopToken, Worker};
