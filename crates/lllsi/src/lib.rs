//! Low latency live streams, peer to peer, that no server can see.
