//! LLLSI's simulator: the real machines over a virtual network in virtual time.
