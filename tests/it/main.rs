//! The contract, line by line, driven through the real binary over real sockets.

/// The gate: bounds, malformed requests, good clients, attacks, drain.
mod gate;
