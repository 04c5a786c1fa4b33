//! Every RPC of the public API as an enum, generated from the descriptor.

include!(concat!(env!("OUT_DIR"), "/rpc.rs"));
