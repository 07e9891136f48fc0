//! LLLSI's sans-IO machines: Host, Client and Rendezvous.
