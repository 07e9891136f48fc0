//! What tests of hosts need of viewers: the attacks of hostile ones, in virtual time and over real sockets alike.
#![allow(missing_docs, missing_debug_implementations)]

pub mod attacks;
