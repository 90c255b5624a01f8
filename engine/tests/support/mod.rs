//! A running engine and bare clients for tests over real sockets.
