//! LLLSI's shell: sockets, threads, signalling and the rendezvous server.
