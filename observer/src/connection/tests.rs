mod bodies;
mod endings;
mod gaps;
mod requests;
mod wire;
