//! The contract, line by line, driven through the real binary over real sockets.
