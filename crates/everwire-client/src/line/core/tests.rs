//! A line in a world of its own: a server, a network that commits every fault, and a virtual clock.

mod any_network;
mod behaviour;
mod network;
mod scenarios;
mod server;
mod world;
