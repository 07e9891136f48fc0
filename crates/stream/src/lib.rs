//! Bounded hand-off between LLLSI's threads.
